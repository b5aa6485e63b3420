# SPDX-License-Identifier: MIT
"""A run in one file, for somebody without DVC or a shared disk.

    packing   write_pack: a run directory → NAME.tar.zst, the same bytes for the same run
    unpacking unpack: such a file → a run directory; checks everything first and runs nothing
    layout    what the file looks like, and which paths may be in it
    manifest  the list at its beginning: the path, size and SHA-256 of each file

The file is an ordinary tar archive, compressed by zstd: `tar --zstd -tf NAME.tar.zst` lists it.
"""
