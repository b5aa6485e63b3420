# SPDX-License-Identifier: MIT
# Tokenised corpora under $(DATA_DIR), by default data/.

##@ Data

TAKES.data := PART

.PHONY: data
data: | $(READY) $(wildcard $(CONFIGURED)) ## prepare the configured data set: tokens or images; resumes; PART=2/8 on one of 8 machines
	$(Q)$(PYTHON) -m scripts.data.prepare

.PHONY: data-check
data-check: | $(READY) $(wildcard $(CONFIGURED)) ## verify the checksums of all that `make data` has prepared
	$(Q)$(PYTHON) -m scripts.data.check

##@ Benchmarks

.PHONY: bench-data
bench-data: | $(READY) ## tokenising speed, against one tiktoken thread
	$(Q)$(PYTHON) -m benchmarks.data
