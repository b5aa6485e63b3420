# SPDX-License-Identifier: MIT
# Training what .config says.

##@ Training

PROCESSES := NPROC NNODES NODE_RANK MASTER_ADDR MASTER_PORT MAX_RESTARTS LAUNCH_ID
TAKES.train := $(OVERRIDES) $(PROCESSES)
TAKES.resume := RUN $(OVERRIDES) $(PROCESSES)
TAKES.profile := RUN STEPS FRAGMENTS SET

.PHONY: train resume profile
train: | $(READY) ## (default) train the model of .config; what is given here holds for this launch alone
	$(Q)exec $(PYTHON) -m scripts.train.launch

resume: | $(READY) ## go on with the interrupted run, or RUN=name; SET="NUM_EPOCHS=40" makes it longer
	$(Q)exec $(PYTHON) -m scripts.train.resume

profile: | $(READY) ## where time and memory of a training step go: STEPS=5 RUN=name SET="…"
	$(Q)exec $(PYTHON) -m scripts.train.profile

##@ Benchmarks

.PHONY: bench-checkpoint
bench-checkpoint: | $(READY) ## what saving a checkpoint costs a training
	$(Q)$(PYTHON) -m benchmarks.checkpoint
