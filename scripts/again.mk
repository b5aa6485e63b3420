# SPDX-License-Identifier: MIT
# A run on another machine, and a run once more.

##@ Runs

TAKES.pack := RUN OUT CHECKPOINTS
TAKES.unpack := FILE NAME

.PHONY: pack unpack
pack: | $(READY) ## a run in one file for somebody without DVC: RUN=name OUT=file CHECKPOINTS=all|last|best|none
	$(Q)$(PYTHON) -m scripts.runs.pack

unpack: | $(READY) ## make a run of FILE=, which pack wrote; checks everything, runs nothing: NAME=another
	$(Q)$(PYTHON) -m scripts.runs.unpack
