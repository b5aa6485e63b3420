# SPDX-License-Identifier: MIT
#
# AdamWPrune is configured like the Linux kernel: `make defconfig`, `make menuconfig`, `make`.
# This file is an index: variables shared by the fragments in scripts/*.mk, and the help
# that collects their `##` lines. Each fragment owns its targets.

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

# What a user gives on the command line reaches the programs through the environment, unexpanded
# and unquoted, so that no make function and no shell ever interprets a value.
USER_VARIABLES := DEFCONFIG SET TRACKER FRAGMENTS SYM A B RUN FORMAT SCALE
$(foreach v,$(USER_VARIABLES),$(if $(filter-out undefined,$(origin $v)),$(eval override export $v := $$(value $v))))

.DEFAULT_GOAL := train
# venv.mk first: prerequisites are expanded where they are read, and $(READY) stands in most.
FRAGMENT_FILES := $(filter-out scripts/venv.mk,$(sort $(wildcard scripts/*.mk)))
include scripts/venv.mk $(FRAGMENT_FILES)

##@ Help

.PHONY: help
help: ## this list
	$(Q)awk -v first='Training,Configuration,Runs' -f scripts/help.awk $(MAKEFILE_LIST)
