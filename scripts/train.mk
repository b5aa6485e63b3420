# SPDX-License-Identifier: MIT
# Training what .config says.

##@ Training

# The model is read when the recipe runs, since config.py may only just have been made.
.PHONY: train
train: | $(CONFIGURED) ## (default) train the model of .config; SET="SYMBOL=VALUE …" TRACKER=…
	$(Q)model=$$(sed -n "s/^    'MODEL': '\(.*\)',\$$/\1/p" config.py); \
	exec $(PYTHON) "$$model/train.py"
