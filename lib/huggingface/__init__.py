# SPDX-License-Identifier: MIT
"""The directory that Hugging Face's libraries load a model from: written, and read back.

- directory.write: a Release, which a model's export.py makes, as one whole directory;
- tokenizer: the files of a tokenizer; card: README.md;
- weights.read: the weights and config.json of such a directory, a file, or a model on the hub.

Neither transformers nor tokenizers is needed.
"""
