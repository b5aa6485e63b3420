# SPDX-License-Identifier: MIT
"""Whether the Hugging Face hub answers, asked before libraries that would retry for minutes."""

NETWORK_TIMEOUT = 20.0  # seconds without an answer


def probe(repository: str, revision: str | None = None) -> None:
    """Make one request about a data set, without retries and with a time limit.

    Raises what huggingface_hub raises, of many unrelated types, when the hub does not answer or has
    no such data set. With HF_HUB_OFFLINE it raises at once.
    """
    from huggingface_hub import HfApi

    HfApi().dataset_info(repository, revision=revision, timeout=NETWORK_TIMEOUT)
