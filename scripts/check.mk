# SPDX-License-Identifier: MIT
# Lint and tests. JOBS is the number of test processes.

PYTEST = OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(or $(JOBS),2) --dist worksteal
SHELLCHECK = $(if $(filter system,$(VENV)),,$(VENV)/bin/)shellcheck

##@ Development

.PHONY: check
check: lint ## lint and all tests (about half an hour on 2 cores)
	$(Q)$(PYTEST) -m "not ui"

.PHONY: check-fast
check-fast: lint ## lint and the quick tests
	$(Q)$(PYTEST) -m "not ui and not slow"

.PHONY: lint
lint: | $(READY) ## ruff and shellcheck
	$(Q)$(PYTHON) -m ruff check --quiet .
	$(Q)$(PYTHON) -m ruff format --quiet --check .
	$(Q)$(SHELLCHECK) scripts/*.sh scripts/*/*.sh scripts/activate docs/examples/*.sbatch .ci/run

.PHONY: format
format: | $(READY) ## let ruff format the Python files
	$(Q)$(PYTHON) -m ruff format --quiet .
	$(Q)$(PYTHON) -m ruff check --quiet --fix .
