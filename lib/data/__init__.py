# SPDX-License-Identifier: MIT
"""What a model learns from, prepared once and then read as a pure function of seed and step.

The doors: images/ and text/ for the two kinds of data; batches.batch_indices, which examples a step
sees; prefetch.prefetch, to have the next batches on the device in time. cache keeps prepared
tensors on disk, hub asks whether the network answers. A model selects its kind in Kconfig
(HAS_IMAGE_DATA, HAS_TEXT_DATA); nothing in here knows which model it is.
"""
