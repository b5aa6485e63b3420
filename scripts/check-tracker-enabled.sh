#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-tracker-enabled.sh NAME WORDS: prints y if the tracker NAME is among WORDS, else n.
# WORDS is what TRACKER= takes: names of trackers, `both` (Trackio and W&B) or `all`, separated by
# commas or spaces, in any order and case. Only whole words count: neither `wand` nor `wandbx` is wandb.

set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	echo "usage: ${0##*/} NAME [WORDS]" >&2
	exit 2
fi

words=$(printf '%s' "${2-}" | tr 'ABCDEFGHIJKLMNOPQRSTUVWXYZ,\n\t' 'abcdefghijklmnopqrstuvwxyz   ')
case " $words " in
*" $1 "* | *" all "*) echo y ;;
*" both "*)
	case $1 in
	trackio | wandb) echo y ;;
	*) echo n ;;
	esac
	;;
*) echo n ;;
esac
