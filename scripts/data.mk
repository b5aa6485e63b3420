# SPDX-License-Identifier: MIT
# Tokenised corpora under $(DATA_DIR), by default data/.

##@ Data

.PHONY: data
data: | $(READY) $(wildcard $(CONFIGURED)) ## tokenise the configured corpus into shards; goes on where it was stopped
	$(Q)$(PYTHON) -m scripts.data.prepare

.PHONY: data-check
data-check: | $(READY) $(wildcard $(CONFIGURED)) ## read all shards of the configured corpus and verify their checksums
	$(Q)$(PYTHON) -m scripts.data.check

.PHONY: bench-data
bench-data: | $(READY) ## tokenising speed, against one tiktoken thread
	$(Q)$(PYTHON) -m benchmarks.data
