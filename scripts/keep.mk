# SPDX-License-Identifier: MIT
# Runs that are kept with DVC and git, and runs that are discarded. Values reach the programs by the
# environment.

##@ Keeping runs

TAKES.keep := RUN MESSAGE

.PHONY: keep
keep: | $(READY) ## keep a run with DVC, a commit and a tag: RUN=name MESSAGE="why"
	$(Q)$(PYTHON) -m scripts.keep.keep
