# SPDX-License-Identifier: MIT
"""Corpora, tokenizers, and the shards of tokens that training reads.

The doors: from_settings.corpus_from_settings for training programs, from_settings.prepare_data and
check_data for `make data` and `make data-check`, tokens.TokenSet for batches of windows, and
tokenizers.load_tokenizer. Texts come from corpora.py (documents.py reads files, ready.py files
that are tokens already); prepare.py has encoder.py's processes tokenise them into a staging.py
directory of shards.py files.
"""
