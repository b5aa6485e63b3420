# SPDX-License-Identifier: MIT
# Many runs from one description. See docs/sweeps.md.

##@ Sweeps

# Every symbol of the configuration is a variable of `make matrix`, in the order of the menus.
ifneq ($(filter matrix,$(MAKECMDGOALS)),)
MATRIX_SYMBOLS := $(shell sed -n 's/^[[:space:]]*config[[:space:]]\{1,\}//p' $(KCONFIG_FILES) | awk '!seen[$$0]++')
endif
MATRIX_WORDS := NAME METRIC

TAKES.list-sweeps := STORAGE
TAKES.sweep-show := SWEEP JOBS GPUS TRIAL STORAGE
TAKES.matrix := $(MATRIX_WORDS) JOBS GPUS STORAGE REUSE $(OVERRIDES) $(MATRIX_SYMBOLS)
TAKES.sweep := SWEEP JOBS GPUS STORAGE REUSE EXTEND LAUNCHER NODES PARTITION TIME CPUS SBATCH DRY
TAKES.sweep-worker := SWEEP JOBS GPUS STORAGE REUSE

.PHONY: list-sweeps sweep-show matrix sweep sweep-worker
list-sweeps: | $(READY) ## the sweeps in sweeps/, and those that were begun
	$(Q)$(PYTHON) -m scripts.sweep.list

sweep-show: | $(READY) ## the cells of SWEEP=name, how long they will take: TRIAL=y tries it for a moment, JOBS=n
	$(Q)$(PYTHON) -m scripts.sweep.show

matrix: | $(READY) ## train all combinations: OPTIMIZER="sgd adamw" SEED="1 2 3" …; takes what sweep takes, and NAME=
	$(Q)exec $(PYTHON) -m scripts.sweep.matrix $(filter $(ON_THE_LINE),$(MATRIX_WORDS) $(MATRIX_SYMBOLS))

sweep: | $(READY) ## train what is missing of SWEEP=name: JOBS=n at a time, GPUS=0,1|all|none STORAGE=URL REUSE=y EXTEND=y; LAUNCHER=slurm NODES=n TIME=90 DRY=1
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

TAKES.sweep-export := SWEEP FORMAT OUT STORAGE

.PHONY: sweep-export
sweep-export: | $(READY) ## a sweep for W&B's agents: SWEEP=name FORMAT=wandb OUT=file.yaml
	$(Q)$(PYTHON) -m scripts.sweep.export

##@ Benchmarks

TAKES.bench-sweep := N
TAKES.bench-sweep-kills := N SEED

.PHONY: bench-sweep bench-sweep-kills
bench-sweep: | $(READY) ## what scheduling costs a sweep, and when the next trial starts after N=10000
	$(Q)$(PYTHON) -m benchmarks.sweep

bench-sweep-kills: | $(READY) ## kill sweeps of 40 cells N=10 times, go on, compare: SEED=1
	$(Q)$(PYTHON) -m benchmarks.sweep_kills
