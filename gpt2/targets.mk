# SPDX-License-Identifier: MIT

##@ Benchmarks

.PHONY: bench-gpt2
bench-gpt2: | $(READY) ## GPT-2 training speed against a plain implementation
	$(Q)$(PYTHON) -m benchmarks.gpt2
