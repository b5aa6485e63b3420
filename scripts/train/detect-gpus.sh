#!/bin/sh
# SPDX-License-Identifier: MIT
#
# detect-gpus.sh {count|vendor|name|memory}: what GPUs this machine has, by the drivers' own tools.
#
#   count   how many (0 without any)
#   vendor  nvidia, amd or none
#   name    the model of each one, one a line
#   memory  the memory of each one in MiB, one a line
#
# Without GPU the last two print nothing. NVIDIA by nvidia-smi; AMD by rocm-smi, else from sysfs.

set -eu
export LC_ALL=C
drm=${DETECT_GPUS_SYSFS:-/sys/class/drm}

# A driver without a device makes the tools fail or talk: what is not in the expected form is dropped.
nvidia() { # QUERY
	command -v nvidia-smi >/dev/null || return 0
	{ nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null || :; } | grep . || :
}

rocm() { # KEY OPTION…: the values in lines such as `GPU[0] : KEY: value`
	command -v rocm-smi >/dev/null || return 0
	key=$1
	shift
	{ rocm-smi "$@" 2>/dev/null || :; } |
		sed -n "s/^GPU\[[0-9]*\][[:space:]]*:[[:space:]]*$key:[[:space:]]*//p"
}

sysfs() { # FILE: its contents for each AMD card that computes, which is one with memory of its own
	for card in "$drm"/card[0-9] "$drm"/card[0-9][0-9]; do
		if [ -r "$card/device/vendor" ] && [ -r "$card/device/mem_info_vram_total" ] &&
			[ "$(cat "$card/device/vendor")" = 0x1002 ]; then
			cat "$card/device/$1" 2>/dev/null || echo "AMD GPU"
		fi
	done
}

to_mib() { awk '{ printf "%d\n", $1 / 1048576 }'; }

# index is a number or the tool did not talk to a driver.
nvidia_count=$(nvidia index | grep -c '^[0-9][0-9]*$' || :)
if [ "$nvidia_count" -gt 0 ]; then
	vendor=nvidia count=$nvidia_count
else
	memories=$(rocm 'VRAM Total Memory (B)' --showmeminfo vram) && source=rocm
	if [ -z "$memories" ]; then
		memories=$(sysfs mem_info_vram_total) && source=sysfs
	fi
	count=$(printf '%s' "$memories" | grep -c . || :)
	vendor=amd
	[ "$count" -gt 0 ] || vendor=none
fi

case "${1-}:$vendor" in
count:*) echo "$count" ;;
vendor:*) echo "$vendor" ;;
name:none | memory:none) ;;
name:nvidia) nvidia name ;;
memory:nvidia) nvidia memory.total ;;
name:amd)
	if [ "$source" = rocm ]; then rocm '[Cc]ard [Ss]eries' --showproductname; else sysfs product_name; fi
	;;
memory:amd) printf '%s\n' "$memories" | to_mib ;;
*)
	echo "usage: ${0##*/} {count|vendor|name|memory}" >&2
	exit 2
	;;
esac
