#!/usr/bin/env bash
# What runs on each worker of a slice; tpu_pod.sh and skypilot.yaml call it, people need not.
#
#   tpu_worker.sh setup [gs://SOURCE]  an environment beside this code, and a copy of the data
#   tpu_worker.sh main ARGS...         python -m gazax.main ARGS...
#   tpu_worker.sh start ARGS...        the same, detached and logged, again while it exits 75
#   tpu_worker.sh status | log [-F] | stop
#   tpu_worker.sh idle                 fails while a run is under way
#
# In $HOME/gazax: venv, data (the source), cache (prepared records), run (log, process, exit code).
# Commands run in the code's folder, where `data` is the source: --config.data.root=data.
set -euo pipefail

code=$(cd "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
home=$HOME/gazax
log=$home/run/log
GAZAX_DATA=$home/cache
export GAZAX_DATA
mkdir -p "$home/run" "$GAZAX_DATA"

# running | exit CODE | stopped CODE (by `stop`) | gone (it ended and left no code: the machine was
# restarted, or the system killed it) | idle (nothing was started)
state() {
  if [ -e "$home/run/exit" ]; then
    local word=exit
    [ ! -e "$home/run/stopped" ] || word=stopped
    printf '%s %s' "$word" "$(cat "$home/run/exit")"
  elif [ ! -e "$home/run/pid" ]; then
    printf 'idle'
  elif is_alive "$(cat "$home/run/pid")"; then
    printf 'running'
  else
    printf 'gone'
  fi
}

# After a restart the number may be another process's: the command line must be ours too.
is_alive() {
  kill -0 "$1" 2>/dev/null && grep -qa relaunch.sh "/proc/$1/cmdline"
}

refuse_while_running() {
  [ "$(state)" != running ] || {
    echo "${HOSTNAME:-worker}: a run is under way; stop it first" >&2
    exit 1
  }
}

setup() {
  refuse_while_running
  cd "$code"
  # TPU VM images have an older Python than gazax needs (Ubuntu 22.04: 3.10); uv brings one along.
  PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
  [ -x "$home/venv/bin/python" ] || python3 -m uv venv --quiet --python 3.11 "$home/venv"
  python3 -m uv pip install --quiet --python "$home/venv/bin/python" \
    --constraint constraints.txt --editable '.[tpu,dicom]'
  mkdir -p "$home/data"
  ln -sfn "$home/data" data
  if [ -n "${1:-}" ]; then
    # Times of change are part of what tells one data set from another (gazax.data.cache): they must
    # be those of the bucket (gcloud storage rsync --help: --preserve-posix), not of the download,
    # or a new slice would refuse the workdir of the old one.
    gcloud storage rsync --recursive --preserve-posix "$1" "$home/data"
  fi
}

main() {
  cd "$code"
  exec "$home/venv/bin/python" -m gazax.main "$@"
}

start() {
  if [ "$(state)" = running ]; then
    echo "${HOSTNAME:-worker}: running already"
    return
  fi
  rm -f "$home/run/exit" "$home/run/stopped" "$home/run/pid"
  cd "$code"
  # A session of its own: the end of the ssh connection does not reach it.
  RELAUNCH_RECORD=$home/run setsid \
    bash launch/relaunch.sh "$home/venv/bin/python" -m gazax.main "$@" \
    >>"$log" 2>&1 </dev/null &
  local tries
  for tries in {1..100}; do
    [ ! -e "$home/run/pid" ] || break
    [ "$tries" -lt 100 ] || { echo "${HOSTNAME:-worker}: it did not start; see $log" >&2; exit 1; }
    sleep 0.1
  done
}

stop() {
  if [ "$(state)" = running ]; then
    : >"$home/run/stopped"
    kill -TERM "$(cat "$home/run/pid")" # relaunch.sh hands it on: saved, exit code 75
  fi
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
  setup | main | start | stop) "$verb" "$@" ;;
  idle) refuse_while_running ;;
  status) printf 'gazax-worker %s %s\n' "${HOSTNAME:-worker}" "$(state)" ;;
  log) tail -n 100 "$@" "$log" ;;
  *)
    echo "tpu_worker.sh: '$verb' is none of setup, main, start, stop, status, log, idle" >&2
    exit 2
    ;;
esac
