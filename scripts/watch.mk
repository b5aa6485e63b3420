# SPDX-License-Identifier: MIT
# Watching runs in a terminal. See docs/watch.md.

##@ Runs

TAKES.watch := RUN
TAKES.bench-watch := SECONDS

.PHONY: watch bench-watch
watch: | $(READY) ## the runs in the terminal, live: curves, speed, machine, log; RUN=name to begin with
	$(Q)exec $(PYTHON) -m scripts.runs.watch

##@ Benchmarks

bench-watch: | $(READY) ## what watching costs, and whether a training feels it: SECONDS=20
	$(Q)$(PYTHON) -m benchmarks.watch
