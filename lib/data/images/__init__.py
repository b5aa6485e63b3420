# SPDX-License-Identifier: MIT
"""Data sets of images and their augmentation.

The doors: from_settings.images_from_settings for training programs, from_settings.prepare_data and
check_data for `make data` and `make data-check`. datasets.py says what a data set offers. A new
one that fits into memory is a row in hub_sets.HUB_SETS, or a class like that of digits.py and a row
in from_settings.SOURCES, and an entry of the choice in Kconfig. encoded_sets.py holds those of any
size, whose files folder.py and imagenet.py find, records.py and decode.py read, index.py remembers
and from_files.py streams.
"""
