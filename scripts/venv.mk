# SPDX-License-Identifier: MIT
# The interpreter. By default a virtual environment in .venv that follows requirements.txt;
# VENV=system takes the active python3 as it is and installs nothing.

VENV ?= .venv
PYTHON3 ?= python3

ifeq ($(VENV),system)
PYTHON := $(PYTHON3)
READY :=
else
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.installed
endif
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

$(VENV)/.installed: requirements.txt constraints.txt scripts/install.sh
	$(Q)scripts/install.sh "$(PYTHON3)" "$(VENV)"

##@ Packages

TAKES.shell := COMMAND

.PHONY: install shell
install: | $(READY) ## install the pinned packages into .venv (every target does it when needed)

# shell's prerequisite brings config.py up to date, if there is one; none is made.
shell: | $(READY) $(wildcard config.py) ## a shell in which mlflow, trackio, wandb, tensorboard and dvc find the runs: COMMAND="mlflow ui"
	$(Q)exec $(PYTHON) -m scripts.shell
