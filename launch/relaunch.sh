#!/usr/bin/env bash
# Runs a command again while it exits 75 (interrupted and saved: the same command goes on). Any
# other exit code is passed on at once: 0 is done, 1 has failed, 2 was given wrong input.
#
#   [MAX_RELAUNCHES=20] [RELAUNCH_SECONDS=10] relaunch.sh python -m gazax.main --config=... ...
#
# SIGTERM and SIGINT end it: they reach the command as SIGTERM, and it is not run again.
# RELAUNCH_RECORD=FOLDER: the files `pid`, and `exit` with the code at the end, for tpu_worker.sh.
# DRY_RUN=1 prints the command.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/command_line.sh" || exit 2

[ $# -gt 0 ] || fail 2 'give a command: relaunch.sh python -m gazax.main --config=...'
if dry; then
  run "$@"
  exit 0
fi

record=${RELAUNCH_RECORD:-}
unset RELAUNCH_RECORD
if [ -n "$record" ]; then
  trap 'echo $? >"$record/exit.partial" && mv "$record/exit.partial" "$record/exit"' EXIT
  echo $$ >"$record/pid.partial" && mv "$record/pid.partial" "$record/pid"
fi

child='' heard='' stopping=''
stop() {
  heard=1 stopping=1
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap stop TERM INT

# A `wait` that a signal ends says nothing of the child: it is asked again.
wait_for_child() {
  while :; do
    heard=''
    wait "$child"
    code=$?
    [ -n "$heard" ] || return
  done
}

launches=0
while :; do
  "$@" &
  child=$!
  [ -z "$stopping" ] || kill -TERM "$child" 2>/dev/null
  wait_for_child
  if [ "$code" -ne 75 ] || [ -n "$stopping" ]; then
    exit "$code"
  fi
  if [ "$launches" -ge "${MAX_RELAUNCHES:-20}" ]; then
    say "interrupted again after $launches relaunches; the same command goes on (MAX_RELAUNCHES)"
    exit 75
  fi
  launches=$((launches + 1))
  say "interrupted and saved; relaunch $launches of ${MAX_RELAUNCHES:-20}"
  sleep "${RELAUNCH_SECONDS:-10}" & # a machine that goes down has this long to say so
  child=$!
  wait_for_child
  [ -z "$stopping" ] || exit 75
done
