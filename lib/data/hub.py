# SPDX-License-Identifier: MIT
"""Whether the Hugging Face hub answers, before libraries that retry for minutes find out."""

NETWORK_TIMEOUT = 20.0  # seconds without an answer


def probe(repository: str, revision: str | None = None) -> None:
    """One request about a data set, without retries and with a time limit.

    Raises what huggingface_hub raises when the hub does not answer (of many families), or has no
    such data set. With HF_HUB_OFFLINE it raises at once.
    """
    from huggingface_hub import HfApi

    HfApi().dataset_info(repository, revision=revision, timeout=NETWORK_TIMEOUT)
