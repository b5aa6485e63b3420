# SPDX-License-Identifier: MIT
# Tokenised corpora under $(DATA_DIR), by default data/.

##@ Data

.PHONY: data
data: | $(READY) $(wildcard $(CONFIGURED)) ## prepare the configured data set: tokens or images; goes on where it stopped
	$(Q)$(PYTHON) -m scripts.data.prepare

.PHONY: data-check
data-check: | $(READY) $(wildcard $(CONFIGURED)) ## read all that `make data` has prepared and verify its checksums
	$(Q)$(PYTHON) -m scripts.data.check

.PHONY: bench-data
bench-data: | $(READY) ## tokenising speed, against one tiktoken thread
	$(Q)$(PYTHON) -m benchmarks.data
