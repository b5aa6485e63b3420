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
