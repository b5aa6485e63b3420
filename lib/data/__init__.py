# SPDX-License-Identifier: MIT
"""What a model learns from, prepared once and then read as a pure function of seed and step.

The doors: images/ and text/ for the two kinds of data; batches.batch_indices for the examples that
a step sees; prefetch.prefetch to have the next batches on the device in time. cache keeps prepared
tensors on disk; workers are the processes that tokenise and decode; hub asks whether the Hugging
Face hub answers. A model selects its kind of data in Kconfig (HAS_IMAGE_DATA, HAS_TEXT_DATA);
nothing in this room knows which model it is.
"""
