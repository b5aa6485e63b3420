# SPDX-License-Identifier: MIT
# The model registry in MLflow. See docs/registry.md.

##@ Model registry

TAKES.register := RUN NAME CHECKPOINT
TAKES.promote := NAME VERSION ALIAS TEXT
TAKES.rollback := NAME ALIAS TEXT
TAKES.registry := NAME FORMAT
TAKES.predict := NAME INPUT OUT
TAKES.consistency := FORMAT

.PHONY: register promote rollback registry predict consistency
register: | $(READY) ## the network of a run as a version of a model in MLflow: RUN=name NAME=model CHECKPOINT=best|last
	$(Q)$(PYTHON) -m scripts.registry.register

promote: | $(READY) ## give a version an alias: NAME=model VERSION=n ALIAS=production TEXT=why
	$(Q)$(PYTHON) -m scripts.registry.promote promote

rollback: | $(READY) ## give an alias back to the version that had it before: NAME=model ALIAS=production TEXT=why
	$(Q)$(PYTHON) -m scripts.registry.promote rollback

registry: | $(READY) ## registered models, their versions and aliases: NAME=model FORMAT=table|json|csv
	$(Q)$(PYTHON) -m scripts.registry.table

predict: | $(READY) ## predict with a registered model: NAME=model@production|model/3 INPUT=file|text OUT=file
	$(Q)$(PYTHON) -m scripts.registry.predict

consistency: | $(READY) ## has each registered version its run, DVC file and checkpoint, each kept run its MLflow run: FORMAT=table|json
	$(Q)$(PYTHON) -m scripts.registry.consistency
