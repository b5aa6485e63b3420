# SPDX-License-Identifier: MIT

##@ Pruning

TAKES.sparsity := RUN CHECKPOINT
TAKES.export := RUN FORMAT CHECKPOINT OUT
TAKES.payoff := RUN CHECKPOINT

.PHONY: sparsity
sparsity: | $(READY) ## per-layer sparsity of a run's checkpoint: RUN=name
	$(Q)$(PYTHON) -m scripts.pruning.sparsity

.PHONY: export
export: | $(READY) ## weights of a run for others: RUN=name FORMAT=dense|sparse|2to4|hf CHECKPOINT=last|best OUT=path
	$(Q)$(PYTHON) -m scripts.pruning.export

.PHONY: payoff
payoff: | $(READY) ## time, memory and file of a run, dense against pruned, on this machine: RUN=name
	$(Q)$(PYTHON) -m scripts.pruning.payoff

##@ Benchmarks

.PHONY: bench-prune
bench-prune: | $(READY) ## what pruning costs a training step
	$(Q)$(PYTHON) -m benchmarks.prune

.PHONY: bench-pruning-quality
bench-pruning-quality: | $(READY) ## accuracy of every pruning method on handwritten digits
	$(Q)$(PYTHON) -m benchmarks.pruning_quality
