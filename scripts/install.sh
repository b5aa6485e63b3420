#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the virtual environment VENV hold exactly what requirements.txt and constraints.txt pin.
#
# usage: [TORCH_INDEX=cpu] scripts/install.sh PYTHON VENV
#
# TORCH_INDEX says which builds of PyTorch: cpu; cu130 and the like, for a version of CUDA; the URL
# of an index (https://… or file://…); pypi, the default, where pip finds everything else. The choice
# is kept in VENV/.torch-index, and holds until another one is given.
#
# VENV/.installed holds the digest of the requirement files and the choice. It is written last: an
# install that was interrupted has none and is repaired by the next make, and touching the files
# costs nothing. The output of pip goes to VENV/install.log; V=1 shows it.
set -eu

python=$1
venv=$2
stamp=$venv/.installed
log=$venv/install.log

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

run_pip() {
    if [ "${V:-}" = 1 ]; then
        "$venv/bin/python" -m pip --disable-pip-version-check "$@" ||
            die "pip failed, see above; run make again to go on"
    elif ! "$venv/bin/python" -m pip --disable-pip-version-check "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        die "pip failed, see $log; run make again to go on"
    fi
}

# Prints the URL of the index that $1 names; nothing for pypi.
url_of() {
    case $1 in
    pypi) ;;
    http://?* | https://?* | file://?*) printf '%s\n' "$1" ;;
    cpu) echo https://download.pytorch.org/whl/cpu ;;
    cu*[!0-9]* | cu) return 1 ;;
    cu*) echo "https://download.pytorch.org/whl/$1" ;;
    *) return 1 ;;
    esac
}

# Installs the pinned torch and torchvision from the index alone: pip would fall back to CUDA builds
# where it cannot be reached.
install_torch() {
    # shellcheck disable=SC2046 # pins have no spaces
    run_pip install --no-deps "$@" ${url:+--index-url "$url"} \
        $(sed -n 's/^\(torch[a-z]*==[^ ;#]*\).*/\1/p' requirements.txt)
}

has_torch() {
    "$venv/bin/python" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null
}

# Another build of the same version is no other version to pip. Fails before anything is changed.
replace_torch() {
    install_torch --force-reinstall
    cuda=$("$venv/bin/python" -c '
from importlib.metadata import distributions
names = {found.name for found in distributions()}
of_cuda = {name for name in names if name.startswith(("nvidia-", "cuda-")) or name == "triton"}
print(*sorted(of_cuda - {"nvidia-ml-py"}))')
    # shellcheck disable=SC2086 # names have no spaces
    [ -z "$cuda" ] || run_pip uninstall --yes $cuda
}

# One install at a time, where there is flock; the next one then finds nothing to do.
exec 9<"$0"
flock 9 2>/dev/null || :

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    die "$python is not Python 3.10 or newer: name one with  make PYTHON3=python3.12"

before=$(cat "$venv/.torch-index" 2>/dev/null || echo pypi)
index=${TORCH_INDEX:-$before}
url=$(url_of "$index") ||
    die "TORCH_INDEX=$index: use cpu, cu130 or another version of CUDA, pypi, or the URL of an index"

chosen=$([ "$index" = pypi ] || echo "$index")
digest=$({ cat requirements.txt constraints.txt && printf '%s' "$chosen"; } | "$python" -c \
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

: >"$log"
echo "Installing the pinned packages into $venv (once, a few minutes) ..."
if [ "$index" != "$before" ] && has_torch; then
    rm -f "$stamp"
    replace_torch
fi
printf '%s\n' "$index" >"$venv/.torch-index"
[ -z "$url" ] || install_torch
run_pip install -r requirements.txt -c constraints.txt ${url:+--extra-index-url "$url"}
printf '%s\n' "$digest" >"$stamp.tmp"
mv "$stamp.tmp" "$stamp"
