# SPDX-License-Identifier: MIT
# A run on another machine, and a run once more.

##@ Runs

TAKES.pack := RUN OUT CHECKPOINTS
TAKES.unpack := FILE NAME

TAKES.replay := RUN KEEP FORMAT YES

.PHONY: pack unpack replay
pack: | $(READY) ## a run in one file for somebody without DVC: RUN=name OUT=file CHECKPOINTS=all|last|best|none
	$(Q)$(PYTHON) -m scripts.runs.pack

unpack: | $(READY) ## make a run of FILE=, which pack wrote; checks everything, runs nothing: NAME=another
	$(Q)$(PYTHON) -m scripts.runs.unpack

replay: | $(READY) ## train a run again, from its commit, diff and configuration, and compare: RUN=name KEEP=1 FORMAT=json YES=1
	$(Q)exec $(PYTHON) -m scripts.runs.replay
