# SPDX-License-Identifier: MIT
"""Data sets of images, held in the memory of the device, and their augmentation.

The doors: from_settings.images_from_settings for training programs, from_settings.prepare_data and
check_data for `make data` and `make data-check`, datasets.load_images with plain arguments, and
augment.augment. A new data set is a module like digits.py, a row in datasets.SOURCES and an entry
of the choice in Kconfig.
"""
