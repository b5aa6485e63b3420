# SPDX-License-Identifier: MIT
"""From what a user types to typed values. The room below all others; it never imports torch.

The doors:
- settings.load_settings(model, flags): what a training program was asked to do, frozen and typed;
- tree.Tree and assign.apply: the Kconfig files, and assignments to them, checked;
- store.load and store.store: .config, its origins and config.py;
- trackers.TRACKERS: one row for each tracker, with its symbol, backend and package.

Behind them: dotconfig reads .config files, symbols describes single symbols, intervals adds real
numbers, definitions checks the Kconfig files, conflicts finds values that do not go together, flags
makes the command line, frozen keeps the configuration of one launch, science says what a run's hash
covers, and editors runs menuconfig and guiconfig.
"""
