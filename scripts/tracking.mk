# SPDX-License-Identifier: MIT
# Trackers: fill them, look at them, prove that they work. See docs/tracking.md.

##@ Experiment tracking

.PHONY: track track-status tracker-test dashboard mlflow-ui tensorboard wandb-sync check-ui
.PHONY: trackio-test wandb-test mlflow-test tensorboard-test bench-tracking

TAKES.track := RUN TRACKER
TAKES.track-status := RUN
TAKES.dashboard := PORT
TAKES.mlflow-ui := PORT
TAKES.tensorboard := PORT

track: | $(READY) ## send a run to trackers, or what they lack of it: RUN=name TRACKER=…
	$(Q)$(PYTHON) -m scripts.tracking.track

track-status: | $(READY) ## what each tracker has of a run, and its last error: RUN=name
	$(Q)$(PYTHON) -m scripts.tracking.status

dashboard: | $(READY) ## the Trackio page: PORT=8080, else TRACKIO_PORT
mlflow-ui: | $(READY) ## the MLflow page: PORT=5001, else MLFLOW_PORT
tensorboard: | $(READY) ## the TensorBoard page: PORT=6007, else TENSORBOARD_PORT
wandb-sync: | $(READY) ## send what was recorded offline to Weights & Biases
# A config.py that is there is brought up to date first; none is made.
dashboard mlflow-ui tensorboard wandb-sync: | $(wildcard $(CONFIGURED))
	$(Q)exec $(PYTHON) -m scripts.tracking.pages $@

trackio-test: | $(READY) ## try Trackio as configured, and with made-up metrics that are not kept
wandb-test: | $(READY) ## the same with Weights & Biases; nothing is uploaded
mlflow-test: | $(READY) ## the same with MLflow
tensorboard-test: | $(READY) ## the same with TensorBoard
tracker-test: | $(READY) ## the same with all four at once
trackio-test wandb-test mlflow-test tensorboard-test:
	$(Q)$(PYTHON) -m scripts.tracking.selftest $(@:-test=)
tracker-test:
	$(Q)$(PYTHON) -m scripts.tracking.selftest all

##@ Development

check-ui: | $(READY) ## the trackers' pages in a real browser (needs chromium and chromium-driver)
	$(Q)$(PYTHON) -m pytest -m ui

##@ Benchmarks

bench-tracking: | $(READY) ## cost of tracking: one row, a million rows, and a training's speed
	$(Q)$(PYTHON) -m benchmarks.tracking
