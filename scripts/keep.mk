# SPDX-License-Identifier: MIT
# Runs that are kept with DVC and git, and runs that are discarded. Values reach the programs by the
# environment.

##@ Keeping runs

TAKES.keep := RUN MESSAGE
TAKES.push := RUN
TAKES.pull := RUN TAG ONLY
TAKES.kept := FORMAT REMOTE
TAKES.discard := RUN RUNS REASON YES
TAKES.undiscard := RUN
TAKES.discarded := FORMAT
TAKES.gc := YES

.PHONY: keep push pull kept discard undiscard discarded gc
keep: | $(READY) ## keep a run with DVC, a commit and a tag: RUN=name MESSAGE="why"
	$(Q)$(PYTHON) -m scripts.keep.keep

push: | $(READY) ## send kept runs to the DVC remote: RUN=name, by default all
	$(Q)$(PYTHON) -m scripts.keep.push

pull: | $(READY) ## get a kept run: RUN=name or TAG=run/name, ONLY=checkpoints/best.pt
	$(Q)$(PYTHON) -m scripts.keep.pull

kept: | $(READY) ## what is kept, and where: FORMAT=table|json REMOTE=1 (asks the DVC remote)
	$(Q)$(PYTHON) -m scripts.keep.kept

discard: | $(READY) ## throw runs away, their numbers stay: RUN=name or RUNS="a b*" REASON="why" YES=1 unasked
	$(Q)$(PYTHON) -m scripts.keep.discard

undiscard: | $(READY) ## take a run back that was discarded less than 30 days ago: RUN=name
	$(Q)$(PYTHON) -m scripts.keep.undiscard

discarded: | $(READY) ## what was discarded, and why: FORMAT=table|json
	$(Q)$(PYTHON) -m scripts.keep.discarded

gc: | $(READY) ## free space: old trash, and what nothing uses in DVC's cache: YES=1 unasked
	$(Q)$(PYTHON) -m scripts.keep.gc
