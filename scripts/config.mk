# SPDX-License-Identifier: MIT
# The configuration, as in the Linux kernel: Kconfig files → .config → config.py.

##@ Configuration

KCONFIG_FILES := $(wildcard Kconfig */Kconfig */*/Kconfig lib/Kconfig.*)

# What a training program needs. Plain `make` takes the default defconfig when there is no .config
# yet, and starts Python only when config.py is older than what it is made from or when SET or
# TRACKER ask for a change.
CONFIGURED := config.py

$(CONFIGURED): $(KCONFIG_CONFIG) $(KCONFIG_FILES) $(if $(value SET)$(value TRACKER)$(value FRAGMENTS),FORCE) | $(READY)
	$(Q)$(PYTHON) -m scripts.kconfig syncconfig

$(KCONFIG_CONFIG): | $(READY)
	@echo "There is no $$KCONFIG_CONFIG yet: taking a defconfig."
	$(Q)$(PYTHON) -m scripts.kconfig defconfig

.PHONY: FORCE
FORCE:

.PHONY: defconfig menuconfig guiconfig oldconfig olddefconfig alldefconfig savedefconfig
defconfig: ## start from DEFCONFIG=lenet5-digits; then FRAGMENTS="FILE …" SET="SYM=VALUE …" TRACKER=…
menuconfig: ## change the configuration in the terminal
guiconfig: ## change the configuration in a window
oldconfig: ## bring .config up to date, asking for each new symbol
olddefconfig: ## bring .config up to date with the defaults of new symbols
alldefconfig: ## start from the defaults alone
savedefconfig: ## write the minimal form of .config to ./defconfig
defconfig menuconfig guiconfig oldconfig olddefconfig alldefconfig savedefconfig: | $(READY)
	$(Q)$(PYTHON) -m scripts.kconfig $@

defconfig-<name>: ## the same as defconfig DEFCONFIG=<name>
defconfig-%: override export DEFCONFIG = $*
defconfig-%: | $(READY)
	$(Q)$(PYTHON) -m scripts.kconfig defconfig
