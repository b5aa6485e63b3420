# SPDX-License-Identifier: MIT
# The interpreter. By default a virtual environment in .venv that follows requirements.txt;
# VENV=system takes the active python3 as it is and installs nothing. TORCH_INDEX=cpu installs
# PyTorch without CUDA; scripts/install.sh says what else it takes.

VENV ?= .venv
PYTHON3 ?= python3

ifeq ($(VENV),system)
PYTHON := $(PYTHON3)
READY :=
ifeq ($(origin TORCH_INDEX),command line)
$(error TORCH_INDEX=$(TORCH_INDEX) has no effect: VENV=system installs nothing)
endif
else
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.installed
endif
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

$(VENV)/.installed: requirements.txt constraints.txt scripts/install.sh
	$(Q)scripts/install.sh "$(PYTHON3)" "$(VENV)"

# The choice is not in a file that the environment depends on: another one makes it anew.
export TORCH_INDEX
ifneq ($(TORCH_INDEX),)
ifneq ($(TORCH_INDEX),$(or $(shell cat "$(VENV)/.torch-index" 2>/dev/null),pypi))
$(VENV)/.installed: FORCE
endif
endif

##@ Packages

TAKES.shell := COMMAND

.PHONY: install shell
install: | $(READY) ## install the pinned packages into .venv (every target does it when needed); TORCH_INDEX=cpu: without CUDA

# shell's prerequisite brings config.py up to date, if there is one; none is made.
shell: | $(READY) $(wildcard config.py) ## a shell in which mlflow, trackio, wandb, tensorboard and dvc find the runs: COMMAND="mlflow ui"
	$(Q)exec $(PYTHON) -m scripts.shell
