# SPDX-License-Identifier: MIT

##@ Benchmarks

.PHONY: bench-resnet50
bench-resnet50: | $(READY) ## ResNet training speed against a plain program
	$(Q)$(PYTHON) -m benchmarks.resnet50
