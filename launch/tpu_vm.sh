#!/usr/bin/env bash
# One run on all hosts of a Cloud TPU VM or a multi-host slice. See launch/README.md.
#   TPU=NAME ZONE=ZONE WORKDIR=DIR launch/tpu_vm.sh install|start|log|stop [VERB AND ARGUMENTS OF biomechgpt]
set -euo pipefail
verb=${1:?install, start, log or stop}
shift
: "${TPU:?the name of the TPU VM}" "${ZONE:?its zone}"
home=${REMOTE_ROOT:-biomechgpt_jax} # where the repository lies on every host, from the home directory

on_all() { gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker=all --command "$1"; }

case $verb in
install)
  on_all "cd $home && source launch/environment.sh && make_environment . && .venv/bin/pip install -q -c constraints.txt 'jax[tpu]'"
  ;;
start)
  : "${WORKDIR:?a directory that all hosts share}"
  given=$(printf ' %q' "${@:-train}" --workdir "$WORKDIR")
  # setsid and the closed input let it outlive this connection; the launcher restarts the one process of its host.
  on_all "set -e; cd $home; source launch/platform_flags.sh; platform_flags tpu
if [ -f launcher.pid ] && kill -0 \$(cat launcher.pid) 2>/dev/null; then echo 'already running' >&2; exit 1; fi
setsid nohup .venv/bin/python launch/local_cluster.py --processes 0$given >>launcher.log 2>&1 </dev/null &
echo \$! >launcher.pid"
  ;;
log)
  on_all "tail -n 20 $home/launcher.log"
  ;;
stop)
  on_all "kill -TERM \$(cat $home/launcher.pid)"
  ;;
*)
  echo "tpu_vm.sh: install, start, log or stop, not $verb" >&2
  exit 2
  ;;
esac
