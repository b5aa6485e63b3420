# SPDX-License-Identifier: MIT

TAKES.sample := RUN PROMPT TOKENS TEMPERATURE TOP_K TOP_P SEED SAMPLES CHECKPOINT DEVICE PRECISION

##@ GPT-2

.PHONY: sample
sample: | $(READY) ## text from a trained GPT-2, as it is made: RUN=name PROMPT="def main"|@file|-
	$(Q)$(PYTHON) gpt2/sample.py

TAKES.eval := RUN TASKS DATA_FILES TEXT_COLUMN STRIDE INCLUDE FEWSHOT LIMIT BATCH_SIZE CHECKPOINT DEVICE PRECISION FORMAT
.PHONY: eval
eval: | $(READY) ## how well a GPT-2 predicts text: RUN=name, its validation split or DATA_FILES="a.txt *.jsonl"; or TASKS=… of lm-eval
	$(Q)$(PYTHON) gpt2/eval.py

##@ Benchmarks

.PHONY: bench-gpt2
bench-gpt2: | $(READY) ## GPT-2 training speed against a plain implementation
	$(Q)$(PYTHON) -m benchmarks.gpt2

.PHONY: bench-sample
bench-sample: | $(READY) ## GPT-2 sampling speed with a cache of keys and values and without
	$(Q)$(PYTHON) -m benchmarks.sample
