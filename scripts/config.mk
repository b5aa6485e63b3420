# SPDX-License-Identifier: MIT
# The configuration, as in the Linux kernel: Kconfig files → .config → config.py.

ifneq ($(words $(KCONFIG_CONFIG)),1)
$(error KCONFIG_CONFIG names one file, without spaces in its path)
endif

KCONFIG_FILES := $(wildcard Kconfig */Kconfig */Kconfig.* */*/Kconfig */*/Kconfig.*)

# For programs that read config.py: `data: | $(CONFIGURED)`. Python is started only when config.py is
# older than what it is made from, or was made from another .config.
CONFIGURED := config.py
CONFIG_SOURCE := $(shell sed -n 's/^SOURCE = "\(.*\)"$$/\1/p' config.py 2>/dev/null)

$(CONFIGURED): $(wildcard $(KCONFIG_CONFIG)) $(KCONFIG_FILES) | $(READY)
	$(Q)$(PYTHON) -m scripts.config.change syncconfig
ifneq ($(CONFIG_SOURCE),$(if $(wildcard $(KCONFIG_CONFIG)),$(KCONFIG_CONFIG)))
$(CONFIGURED): FORCE
endif

.PHONY: FORCE
FORCE:

##@ Configuration

CONFIG_TARGETS := defconfig setconfig menuconfig guiconfig oldconfig olddefconfig alldefconfig savedefconfig
CONFIG_REPORTS := list-defconfigs showconfig helpconfig diffconfig listnewconfig
.PHONY: $(CONFIG_TARGETS) $(CONFIG_REPORTS)

TAKES.defconfig := DEFCONFIG $(OVERRIDES)
TAKES.defconfig-% := $(OVERRIDES)
TAKES.setconfig := $(OVERRIDES)
TAKES.menuconfig := $(OVERRIDES)
TAKES.guiconfig := $(OVERRIDES)
TAKES.oldconfig := $(OVERRIDES)
TAKES.olddefconfig := $(OVERRIDES)
TAKES.alldefconfig := $(OVERRIDES)
TAKES.helpconfig := SYM
TAKES.diffconfig := A B

defconfig: ## start from DEFCONFIG=lenet5-digits, with changes
defconfig-<name>: ## the same as defconfig DEFCONFIG=<name>
list-defconfigs: ## the configurations in defconfigs/ to start from
setconfig: ## change .config: SET="SYMBOL=VALUE …", lines of FRAGMENTS="FILE …", TRACKER=wandb,…
menuconfig: ## change the configuration in the terminal
guiconfig: ## change the configuration in a window
oldconfig: ## bring .config up to date, asking for each new symbol
olddefconfig: ## bring .config up to date with the defaults of new symbols
alldefconfig: ## start from the defaults alone
savedefconfig: ## write the minimal form of .config to ./defconfig
listnewconfig: ## the symbols that .config does not know yet
showconfig: ## each value that is not its default, and where it came from (V=1: all)
helpconfig: ## what SYM=NAME is for, what it may hold, where it is defined
diffconfig: ## what differs between A=… and B=…, .config files or runs (default: from .config.old)

$(CONFIG_TARGETS): | $(READY)
	$(Q)$(PYTHON) -m scripts.config.change $@

$(CONFIG_REPORTS): | $(READY)
	$(Q)$(PYTHON) -m scripts.config.show $@

defconfig-%: override export DEFCONFIG = $(value *)
defconfig-%: | $(READY)
	$(Q)$(PYTHON) -m scripts.config.change defconfig

##@ Cleaning

.PHONY: clean mrproper
clean: ## remove config.py and caches; .config, runs and data stay
	$(Q)rm -f config.py
	$(Q)rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info
	$(Q)find . \( -path ./.git -o -path ./.venv -o -path ./.venv-reach -o -path ./outputs -o -path ./data \) -prune \
		-o -name __pycache__ -prune -exec rm -rf {} +

mrproper: clean ## also remove the configuration: .config, .config.old, ./defconfig; runs, data and .venv stay
	$(Q)rm -f "$$KCONFIG_CONFIG" "$$KCONFIG_CONFIG.old" "$$KCONFIG_CONFIG.origins" defconfig
	$(Q)rm -rf .launches

##@ Benchmarks

.PHONY: bench-config
bench-config: | $(READY) ## how long `make defconfig` takes
	$(Q)$(PYTHON) -m benchmarks.config
