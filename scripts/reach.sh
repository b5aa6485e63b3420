#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the virtual environment VENV hold what requirements-reach.txt pins, beside all that PYTHON
# sees: nothing is installed twice, and PYTHON's own packages stay as they are.
#
# usage: scripts/reach.sh PYTHON VENV
#
# The package `adamwprune` in VENV is lib/ of this tree, by a link. What requirements-reach-alone.txt
# pins comes into VENV/alone. VENV/.installed is written last, as in scripts/install.sh: an install
# that was interrupted is repaired by the next make. Pip's output goes to VENV/install.log; V=1
# shows it.
set -eu

python=$1
venv=$2
stamp=$venv/.installed

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

digest=$(
    {
        cat requirements-reach.txt requirements-reach-alone.txt requirements.txt constraints.txt
        "$python" -c 'import sys; print(sys.prefix, sys.version)'
        pwd
    } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
) || die "$python does not run: name a Python with  make check-reach PYTHON3=python3.12"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
    exit 0
fi

# Made anew, because what a killed pip has left behind may look complete.
rm -rf "$venv"
"$python" -m venv "$venv" || {
    rm -rf "$venv"
    die "$python has no working venv module (on Debian: apt install python3-venv)"
}
own=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import site, sys; sys.stdout.write("".join(f"{p}\n" for p in site.getsitepackages()))' \
    >"$own/below.pth"
ln -s "$PWD/lib" "$own/adamwprune"

log=$venv/install.log
install() {
    if [ "${V:-}" = 1 ]; then
        "$venv/bin/python" -m pip install --disable-pip-version-check "$@" ||
            die "pip failed, see above; run make again"
    elif ! "$venv/bin/python" -m pip install --disable-pip-version-check "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "pip failed, see $log; run make again"
    fi
}
echo "Installing other people's libraries into $venv (once, a few minutes) ..."
install -r requirements-reach.txt -c constraints.txt
install -r requirements-reach-alone.txt --target "$venv/alone"
printf '%s\n' "$digest" >"$stamp.tmp"
mv "$stamp.tmp" "$stamp"
