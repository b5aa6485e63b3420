# SPDX-License-Identifier: MIT
#
# AdamWPrune is configured like the Linux kernel: `make defconfig`, `make menuconfig`, `make`.
# This file is an index: variables shared by the fragments in scripts/*.mk and <model>/*.mk, and the
# help that collects their `##` lines. Each fragment owns its targets.

ifeq ($(filter-out 0.% 1.% 2.% 3.%,$(MAKE_VERSION)),)
$(error GNU make $(MAKE_VERSION) is too old, 4.0 or newer is needed. On macOS: brew install make, then type gmake for make)
endif

MAKEFLAGS += --no-print-directory --no-builtin-rules
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:

# V=1 shows the recipes.
Q := $(if $(filter 1,$(V)),,@)
export V

KCONFIG_CONFIG ?= .config
export KCONFIG_CONFIG

# A fragment declares which variables a target takes from the make line:
#
#     TAKES.show := RUN
#
# Nothing else is needed: the value reaches the programs of the recipe through the environment, so
# that no make function and no shell ever interprets it; `make help` lists the variable; and targets
# that do not take it refuse it.
ON_THE_LINE := $(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))
TAKEN_BY_ALL := V VENV PYTHON3 TORCH_INDEX KCONFIG_CONFIG JOBS SHELL
OVERRIDES := FRAGMENTS SET TRACKER

.DEFAULT_GOAL := train
# venv.mk first: prerequisites are expanded as they are read, and most contain $(READY).
FRAGMENT_FILES := $(filter-out scripts/venv.mk,$(sort $(wildcard scripts/*.mk $(patsubst %/train.py,%/*.mk,$(wildcard */train.py)))))
include scripts/venv.mk $(FRAGMENT_FILES)

TAKERS := $(patsubst TAKES.%,%,$(filter TAKES.%,$(.VARIABLES)))
$(foreach v,$(sort $(foreach t,$(TAKERS),$(TAKES.$t))),$(if $(filter-out undefined,$(origin $v)),$(eval override export $v := $$(value $v))))

GOALS := $(or $(MAKECMDGOALS),$(.DEFAULT_GOAL))
TAKEN := $(foreach goal,$(GOALS),$(foreach t,$(TAKERS),$(if $(filter $t,$(goal)),$(TAKES.$t))))
REFUSED := $(filter-out $(TAKEN_BY_ALL) $(TAKEN),$(ON_THE_LINE))
ifneq ($(REFUSED),)
quoted = '$(subst ','\'',$1)'
TAKERS_AND_TAKEN := $(foreach t,$(TAKERS),$(foreach v,$(TAKES.$t),$t=$v))
$(shell $(firstword $(wildcard $(PYTHON)) $(PYTHON3)) -m scripts.config.refuse $(call quoted,$(GOALS)) \
	$(call quoted,$(TAKERS_AND_TAKEN)) $(foreach v,$(REFUSED),$(call quoted,$v=$(value $v))) >&2)
$(error nothing was done)
endif

# What no rule makes is refused with the targets that may have been meant.
.DEFAULT:
	+$(Q)$(firstword $(wildcard $(PYTHON)) $(PYTHON3)) -m scripts.config.refuse --target '$(subst ','\'',$@)' $(MAKEFILE_LIST)

##@ Help

.PHONY: help
help: ## this list
	$(Q)awk -v first='Training,Configuration,Data,Runs,Keeping runs,Model registry,Experiment tracking,Pruning,Sweeps' \
		-v takes='$(foreach t,$(TAKERS),$(foreach v,$(TAKES.$t),$t=$v))' -f scripts/help.awk $(MAKEFILE_LIST)
