# SPDX-License-Identifier: MIT
# Training what .config says.

##@ Training

# The model is read when the recipe runs, since config.py may only just have been made.
.PHONY: train
train: | $(CONFIGURED) ## (default) train the model of .config; SET="SYMBOL=VALUE …" TRACKER=… NPROC=… NNODES=…
	$(Q)exec scripts/train/launch.sh "$(PYTHON)"
