# SPDX-License-Identifier: MIT
# Looking at runs. The name given as RUN= reaches the programs through the environment.

##@ Runs

TAKES.show := RUN
TAKES.plots := RUN SCALE

.PHONY: runs show plots bench-journal
runs: | $(READY) ## all training runs, newest last
	$(Q)$(PYTHON) -m scripts.runs.table

show: | $(READY) ## one run in detail: RUN=name, by default the latest
	$(Q)$(PYTHON) -m scripts.runs.show

plots: | $(READY) ## draw the curves of a run again: RUN=name SCALE=log|linear (of the loss)
	$(Q)$(PYTHON) -m scripts.runs.plots

##@ Benchmarks

bench-journal: | $(READY) ## cost of logging one row of four scalars
	$(Q)$(PYTHON) -m benchmarks.journal
