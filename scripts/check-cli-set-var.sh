#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-cli-set-var.sh VAR: prints y if the variable VAR is not empty, on the make line or in the
# environment, else n. Kconfig uses it for defaults that follow the command line.

set -eu

case ${1-} in
'' | [0-9]* | *[!A-Za-z0-9_]*)
	echo "usage: ${0##*/} VARIABLE" >&2
	exit 2
	;;
esac

# The name has only letters, digits and underscores, so that eval is safe.
eval "value=\${$1-}"
# shellcheck disable=SC2154 # assigned by the eval
if [ -n "$value" ]; then echo y; else echo n; fi
