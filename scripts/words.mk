# SPDX-License-Identifier: MIT
# Words about a run that exists, in progress or not. See docs/runs.md.

##@ Runs

TAKES.note := RUN TEXT
TAKES.tag := RUN TAGS
TAKES.conclude := RUN RESULT VERDICT

.PHONY: note tag conclude
note: | $(READY) ## write a note into a run: RUN=name TEXT="…"
	$(Q)$(PYTHON) -m scripts.runs.note

tag: | $(READY) ## change the tags of a run: RUN=name TAGS="+kept -wip"
	$(Q)$(PYTHON) -m scripts.runs.tag

conclude: | $(READY) ## set its result against its hypothesis: RUN=name RESULT="…" VERDICT=confirmed|refuted|open
	$(Q)$(PYTHON) -m scripts.runs.conclude
