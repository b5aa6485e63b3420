# SPDX-License-Identifier: MIT
"""From a user's words to typed values. The room that all others stand on; it never imports torch.

The doors:
- settings.load_settings(model): what a training program was asked to do, frozen and typed;
- tree.Tree and assign.apply: the Kconfig files, and assignments to them, checked;
- store.load and store.store: .config, its origins and config.py;
- trackers.TRACKERS: one row for each tracker, with its symbol, backend and package.

Behind them: dotconfig is the text of .config files, intervals the real numbers, definitions what
may be wrong with the Kconfig files and conflicts what may be wrong with values together, flags the
command line, frozen the configuration of one launch, science what a run's hash covers, and editors
menuconfig and guiconfig.
"""
