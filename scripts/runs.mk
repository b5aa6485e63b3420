# SPDX-License-Identifier: MIT
# Looking at runs, and tidying up. What is given as RUN= reaches the programs by the environment.

##@ Runs

TAKES.runs := WHERE SORT LIMIT COLS FORMAT
TAKES.show := RUN
TAKES.plots := RUN SCALE
TAKES.report := RUN RUNS WHERE OUT
TAKES.compare := RUNS WHERE METRICS FORMAT OUT SCALE
TAKES.leaderboard := BY GROUP RUNS WHERE LIMIT FORMAT MODE STATUS ALPHA
TAKES.checkpoints := RUN
TAKES.verify := RUN
TAKES.prune-checkpoints := RUN KEEP
TAKES.branch := RUN STEP NAME
TAKES.clean-runs := STATUS YES
TAKES.bench-runs := N
TAKES.bench-durability := N SEED MINUTES

.PHONY: runs show compare leaderboard plots report checkpoints verify prune-checkpoints clean-runs
.PHONY: branch bench-journal bench-runs bench-durability
runs: | $(READY) ## the runs, newest last: WHERE="val/loss<3 and tag=baseline" SORT=val/loss LIMIT=20 COLS=… FORMAT=table|json|csv
	$(Q)$(PYTHON) -m scripts.runs.table

show: | $(READY) ## one run in detail: RUN=name, by default the latest
	$(Q)$(PYTHON) -m scripts.runs.show

compare: | $(READY) ## what differs between runs, metrics, curves: RUNS="a b*" WHERE=… METRICS=… FORMAT=table|json|csv OUT=file.png
	$(Q)$(PYTHON) -m scripts.runs.compare

leaderboard: | $(READY) ## the best settings, mean ± std over seeds, tested: BY=val/loss GROUP=symbol,… WHERE=… LIMIT=20
	$(Q)$(PYTHON) -m scripts.runs.leaderboard

plots: | $(READY) ## draw the curves of a run again: RUN=name SCALE=log|linear (of the loss)
	$(Q)$(PYTHON) -m scripts.runs.plots

report: | $(READY) ## one HTML file that needs no network: RUN=name|RUNS="a b*"|WHERE=… OUT=file.html
	$(Q)$(PYTHON) -m scripts.runs.report

checkpoints: | $(READY) ## the checkpoints of a run: RUN=name
	$(Q)$(PYTHON) -m scripts.runs.checkpoints

verify: | $(READY) ## is everything whole that a run has written, and what can still be used: RUN=name|all
	$(Q)$(PYTHON) -m scripts.runs.verify

prune-checkpoints: | $(READY) ## remove all but the last KEEP=1, the best and the milestones: RUN=name
	$(Q)$(PYTHON) -m scripts.runs.prune

branch: | $(READY) ## a new run that is RUN= up to its checkpoint STEP=: NAME=new, by default RUN_stepSTEP
	$(Q)$(PYTHON) -m scripts.runs.branch

clean-runs: | $(READY) ## remove runs that ended before their first checkpoint: STATUS=failed,… all of these; YES=1 unasked
	$(Q)$(PYTHON) -m scripts.runs.clean

##@ Benchmarks

bench-journal: | $(READY) ## cost of logging one row of four scalars
	$(Q)$(PYTHON) -m benchmarks.journal

bench-runs: | $(READY) ## how long looking at N=10000 runs takes
	$(Q)$(PYTHON) -m benchmarks.runs

bench-durability: | $(READY) ## kill trainings N=100 times, resume them, compare: SEED=1 MINUTES=60
	$(Q)OMP_NUM_THREADS=1 $(PYTHON) -m benchmarks.durability
