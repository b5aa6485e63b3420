# SPDX-License-Identifier: MIT
# Many runs from one description. See docs/sweeps.md.

##@ Sweeps

TAKES.sweep := SWEEP JOBS GPUS STORAGE REUSE EXTEND
TAKES.sweep-worker := SWEEP JOBS GPUS STORAGE REUSE

.PHONY: sweep sweep-worker
sweep: | $(READY) ## train what is missing of SWEEP=name: JOBS=n at a time, GPUS=0,1|all|none STORAGE=URL REUSE=y EXTEND=y
	$(Q)exec $(PYTHON) -m scripts.sweep.run

sweep-worker: | $(READY) ## train for a sweep that was begun elsewhere: SWEEP=name STORAGE=postgresql://… JOBS=n
	$(Q)exec $(PYTHON) -m scripts.sweep.worker

TAKES.sweep-report := SWEEP FORMAT OUT BASELINE TABLE LIMIT STORAGE
TAKES.sweep-best := SWEEP TRIAL STORAGE
TAKES.optuna-ui := PORT STORAGE

.PHONY: sweep-report sweep-best optuna-ui
sweep-report: | $(READY) ## what came out, seeds aggregated, the best first: FORMAT=table|html|markdown|latex|csv OUT=file BASELINE="arm=dense"
	$(Q)$(PYTHON) -m scripts.sweep.report

sweep-best: | $(READY) ## print the best configuration as a defconfig: SWEEP=name TRIAL=number > defconfigs/NAME
	$(Q)$(PYTHON) -m scripts.sweep.best

optuna-ui: | $(READY) ## all sweeps on Optuna's own page: PORT=8080
	$(Q)$(PYTHON) -m scripts.sweep.ui
