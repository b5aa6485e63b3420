# SPDX-License-Identifier: MIT
"""Corpora, tokenizers, and the shards of tokens that training reads."""
