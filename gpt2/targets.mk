# SPDX-License-Identifier: MIT

TAKES.sample := RUN PROMPT

##@ GPT-2

.PHONY: sample
sample: | $(READY) ## text from a trained GPT-2: RUN=name PROMPT="def main"
	$(Q)$(PYTHON) gpt2/sample.py

##@ Benchmarks

.PHONY: bench-gpt2
bench-gpt2: | $(READY) ## GPT-2 training speed against a plain implementation
	$(Q)$(PYTHON) -m benchmarks.gpt2
