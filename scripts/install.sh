#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the virtual environment VENV hold exactly what requirements.txt and constraints.txt pin.
#
# usage: scripts/install.sh PYTHON VENV
#
# VENV/.installed holds the digest of the requirement files and is written last: an install that
# was interrupted has none and is repaired by the next make, and touching the files costs nothing.
# The output of pip goes to VENV/install.log; V=1 shows it.
set -eu

python=$1
venv=$2
stamp=$venv/.installed

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    die "$python is not Python 3.10 or newer: name one with  make PYTHON3=python3.12"

digest=$(cat requirements.txt constraints.txt | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
    touch "$stamp"
    exit 0
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    rm -rf "$venv"
    "$python" -m venv "$venv" || {
        rm -rf "$venv"
        die "$python has no working venv module (on Debian: apt install python3-venv)," \
            "or use the active interpreter as it is: make VENV=system"
    }
fi

log=$venv/install.log
echo "Installing the pinned packages into $venv (once, a few minutes) ..."
set -- -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt
if [ "${V:-}" = 1 ]; then
    "$venv/bin/python" "$@" || die "pip failed, see above; run make again to go on"
elif ! "$venv/bin/python" "$@" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "pip failed, see $log; run make again to go on"
fi
printf '%s\n' "$digest" >"$stamp.tmp"
mv "$stamp.tmp" "$stamp"
