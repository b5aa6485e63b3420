#!/bin/sh
# SPDX-License-Identifier: MIT
#
# launch.sh PYTHON: train the model of config.py, on every GPU of this machine where it can use them.
#
# From the environment, and so from the make line:
#   NPROC=n          processes on this machine (default: one a GPU, one without a GPU)
#   NNODES=n         machines; n:m lets them come and go between n and m
#   NODE_RANK=k      which of them this is, from 0; without it the machines find their own order,
#                    which those that come and go, or start again, must do
#   MASTER_ADDR=host MASTER_PORT=29500   where they meet: machine 0
#   MAX_RESTARTS=n   how often to start all processes again after one failed (default 0)

set -eu
python=$1

setting() { sed -n "s/^    '$1': '\(.*\)',\$/\1/p" config.py; }
fail() {
	echo "error: $*" >&2
	exit 2
}

model=$(setting MODEL)
program=$model/train.py
if ! grep -q process_group "$program"; then
	[ "${NPROC:-1}${NNODES:-1}" = 11 ] || fail "$model trains with one process: leave out NPROC and NNODES"
	exec "$python" "$program"
fi

nproc=${NPROC:-}
if [ -z "$nproc" ]; then
	nproc=1
	[ "$(setting DEVICE)" = cpu ] || nproc=$(scripts/train/detect-gpus.sh count)
	[ "$nproc" -gt 0 ] || nproc=1
fi
case $nproc in *[!0-9]* | 0*) fail "NPROC=$nproc: a number of processes from 1 on" ;; esac
nnodes=${NNODES:-1}
restarts=${MAX_RESTARTS:-0}
case $restarts in *[!0-9]*) fail "MAX_RESTARTS=$restarts: how often, a number from 0 on" ;; esac
if [ "$nproc$nnodes$restarts" = 110 ]; then
	exec "$python" "$program"
fi

# torchrun would give each process a single thread, for fear of more threads than cores.
if [ -z "${OMP_NUM_THREADS:-}" ]; then
	OMP_NUM_THREADS=$(($(getconf _NPROCESSORS_ONLN) / nproc))
	[ "$OMP_NUM_THREADS" -gt 0 ] || OMP_NUM_THREADS=1
	export OMP_NUM_THREADS
fi

elastic=
case $nnodes in *:*) elastic=NNODES=$nnodes ;; esac
[ "$restarts" = 0 ] || elastic=MAX_RESTARTS=$restarts
if [ -n "$elastic" ]; then
	[ "$nnodes" = 1 ] || [ -z "${NODE_RANK:-}" ] ||
		fail "$elastic is for machines that find their own order: leave out NODE_RANK"
	# Each attempt meets in a store of its own. In a shared one it finds the addresses of processes
	# that are gone and waits for them for ever.
	export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
fi

set -- --nproc-per-node "$nproc" --max-restarts "$restarts"
if [ "$nnodes" = 1 ]; then
	set -- "$@" --standalone
else
	[ -n "${MASTER_ADDR:-}" ] || fail "NNODES=$nnodes needs MASTER_ADDR=<host of machine 0>"
	port=${MASTER_PORT:-29500}
	set -- "$@" --nnodes "$nnodes"
	if [ -n "${NODE_RANK:-}" ]; then
		set -- "$@" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR" --master-port "$port"
	else
		set -- "$@" --rdzv-backend c10d --rdzv-id "$model" --rdzv-endpoint "$MASTER_ADDR:$port"
	fi
fi
exec "$python" -m torch.distributed.run "$@" "$program"
