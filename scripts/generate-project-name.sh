#!/bin/sh
# SPDX-License-Identifier: MIT
#
# generate-project-name.sh MODEL [tracking]: prints a project name such as <model>-a3f2c.
#
# The part behind the hyphen is the start of the MD5 of host name (short), first IP address and name
# of the current directory: stable, and different between machines and checkouts. The word
# `tracking` says what the name is for and changes nothing.

set -eu
export LC_ALL=C

case $# in
1 | 2) ;;
*)
	echo "usage: ${0##*/} MODEL [tracking]" >&2
	exit 2
	;;
esac

# A machine may lack any of these programs; the others still give a stable name.
host=$(uname -n)
address=$(
	{ ip -o -4 addr show scope global || ifconfig; } 2>/dev/null |
		awk '{
			for (i = 1; i < NF; i++)
				if ($i == "inet") {
					sub(/^addr:/, "", $(i + 1)); sub(/\/.*/, "", $(i + 1))
					if ($(i + 1) !~ /^127\./) { print $(i + 1); exit }
				}
		}'
)
directory=${PWD##*/}

digest() {
	if command -v md5sum >/dev/null; then md5sum; else md5 -q; fi
}

checksum=$(printf '%s %s %s' "${host%%.*}" "$address" "$directory" | digest | cut -c1-5)
echo "$1-$checksum"
