# SPDX-License-Identifier: MIT
# Training what .config says.

##@ Training

TAKES.train := $(OVERRIDES) NPROC NNODES NODE_RANK MASTER_ADDR MASTER_PORT MAX_RESTARTS

.PHONY: train
train: | $(READY) ## (default) train the model of .config; what is given here holds for this launch alone
	$(Q)exec $(PYTHON) -m scripts.train.launch
