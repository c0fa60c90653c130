#!/usr/bin/env bash
# A run on all hosts of a TPU VM slice, started from your own machine. See launch/README.md.
#   TPU=my-tpu ZONE=us-east5-a launch/tpu_vm.sh train configs/sizes.py:1b --workdir /mnt/runs/1b
set -euo pipefail
: "${TPU:?the name of the TPU}" "${ZONE:?its zone}"
directory=${DIRECTORY:-biomechgpt_jax} limit=${LIMIT:-3}
workdir=
for word in "$@"; do
  [ "${previous:-}" = --workdir ] && workdir=$word
  previous=$word
done
: "${workdir:?give --workdir: a directory that all hosts see}"
# Asynchronous collectives beside computation [memory]; what is set already stays.
flags=${LIBTPU_INIT_ARGS:---xla_tpu_enable_async_collective_fusion=true --xla_tpu_overlap_compute_collective_tc=true}
on() { gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker "$1" --command "$2"; }
words=$(printf '%q ' "$@")
while true; do
  code=0
  # jax finds the other hosts of the slice by itself.
  on all "cd $directory && LIBTPU_INIT_ARGS=$(printf %q "$flags") exec .venv/bin/biomechgpt $words" || code=$?
  echo "tpu_vm.sh: the run ended with $code" >&2
  on 0 "cd $directory && .venv/bin/python -m biomechgpt_jax.parallel.restarts $code --limit $limit --workdir $(printf %q "$workdir")" ||
    exit "$code"
done
