# SPDX-License-Identifier: MIT
# Other people's libraries, which the project works with and does not need. See docs/frameworks.md.

##@ Development

# Made from the interpreter of VENV=, also with VENV=system. Nothing is installed into that one.
REACH := .venv-reach

.PHONY: check-reach
check-reach: | $(READY) ## the tests that need transformers, Lightning, Accelerate …, which are installed into .venv-reach
	$(Q)scripts/reach.sh $(PYTHON) $(REACH)
	$(Q)OMP_NUM_THREADS=1 $(REACH)/bin/python -m pytest -m reach
