# SPDX-License-Identifier: MIT
"""Corpora, tokenizers, and the shards of tokens that training reads.

The doors: from_settings.corpus_from_settings for training programs, from_settings.prepare_data and
check_data for `make data` and `make data-check`, tokens.TokenSet for batches of windows, and
tokenizers.load_tokenizer. Behind them: corpora.py opens the sources of text (documents.py reads
local files, ready.py files of tokens); prepare.py has worker processes run encoder.py and writes
files of shards.py, in a directory that staging.py completes and publishes; estimate.py says how
long that takes, and parts.py divides it among machines and merges what they made.
"""
