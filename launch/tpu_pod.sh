#!/usr/bin/env bash
# A Cloud TPU slice, from one's own machine, by queued resources.
#
#   tpu_pod.sh create              ask for the slice and wait until it is there
#   tpu_pod.sh setup               bring this repository's last commit, its environment and the
#                                  data to every worker
#   tpu_pod.sh run ARGS...         start `python -m gazax.main ARGS...` on every worker, detached,
#                                  and watch it; Ctrl-C ends only the watching, and the same command
#                                  watches again
#   tpu_pod.sh status              the request's state, the slice's, and each worker's
#   tpu_pod.sh logs [WORKER|all]   follow a worker's log (default 0), or print the end of all
#   tpu_pod.sh stop                SIGTERM on every worker: saved, exit code 75
#   tpu_pod.sh delete              give the slice back
#
# While `run` watches, a spot slice that is preempted is deleted, created, set up and started again,
# MAX_RECREATIONS times at most; a worker that exits 75 is relaunched where it is. Exit code: 0
# done, 1 failed, 2 wrong input, 75 stopped or interrupted too often (the same command goes on).
# README.md has the variables. DRY_RUN=1 prints the commands.
#
# Sources: cloud.google.com/tpu/docs/queued-resources (states), .../tpu/docs/spot,
# `gcloud compute tpus tpu-vm ssh --help` (--worker=all: the same command on every worker).
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/command_line.sh" || exit 2

repository=$(cd "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
worker_script='bash gazax/code/launch/tpu_worker.sh' # ssh starts in the home folder
poll=${POLL_SECONDS:-60}
recreations=0
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
silent_polls=10 # in a row without an answer of every worker, before `run` gives up

configure() {
  require \
    'TPU_NAME: a name for the slice' \
    'PROJECT: the Google Cloud project that pays' \
    'ZONE: where it is, such as us-west4-a' \
    'ACCELERATOR_TYPE: its kind and size, such as v5litepod-16'
  require_gs DATA
  at=(--project="$PROJECT" --zone="$ZONE")
  all=(--worker=all --batch-size="${SSH_BATCH_SIZE:-16}")
  case ${RUNTIME_VERSION:-}:$ACCELERATOR_TYPE in # cloud.google.com/tpu/docs/runtimes
    :v5litepod-*) RUNTIME_VERSION=v2-alpha-tpuv5-lite ;;
    :v5p-*) RUNTIME_VERSION=v2-alpha-tpuv5 ;;
    :v6e-*) RUNTIME_VERSION=v2-alpha-tpuv6e ;;
    :v[234]-*) RUNTIME_VERSION=tpu-ubuntu2204-base ;;
    :*) fail 2 "set RUNTIME_VERSION: none is known here for '$ACCELERATOR_TYPE'" ;;
  esac
  case ${SPOT:-0} in
    1) max_recreations=${MAX_RECREATIONS:-10} ;;
    0) max_recreations=${MAX_RECREATIONS:-0} ;;
    *) fail 2 "SPOT='$SPOT': 1 for a spot slice, 0 for one that is not preempted" ;;
  esac
}

# describe KIND FIELD; ABSENT, or UNKNOWN where gcloud itself failed: a laptop without a network
# must not take a slice for lost.
describe() {
  local value
  if value=$(gcloud compute tpus "$1" describe "$TPU_NAME" "${at[@]}" --format="value($2)" \
    2>"$errors"); then
    printf '%s\n' "$value"
  elif grep -q NOT_FOUND "$errors"; then
    echo ABSENT
  else
    echo UNKNOWN
  fi
}

request_state() { describe queued-resources state.state; }
slice_state() { describe tpu-vm state; }

worker_count() {
  gcloud compute tpus tpu-vm describe "$TPU_NAME" "${at[@]}" \
    --flatten='networkEndpoints[]' --format='value(networkEndpoints.ipAddress)' | grep -c .
}

# there | waiting | lost (spot: taken away) | failed | absent | unknown
standing() {
  case $(request_state) in
    ACTIVE)
      case $(slice_state) in
        PREEMPTED | TERMINATED | STOPPED | DELETING | ABSENT) echo lost ;;
        UNKNOWN) echo unknown ;;
        *) echo there ;;
      esac
      ;;
    SUSPENDING | SUSPENDED | DELETING) echo lost ;;
    FAILED) echo failed ;;
    ABSENT) echo absent ;;
    UNKNOWN) echo unknown ;;
    *) echo waiting ;; # CREATING, ACCEPTED, WAITING_FOR_RESOURCES, PROVISIONING
  esac
}

on_worker() { # NUMBER COMMAND
  run gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${at[@]}" --worker="$1" --command="$2"
}

on_workers() { # COMMAND
  run gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${at[@]}" "${all[@]}" --command="$1"
}

create() {
  local options=()
  [ "${SPOT:-0}" = 0 ] || options+=(--spot)
  [ -z "${SERVICE_ACCOUNT:-}" ] || options+=(--service-account="$SERVICE_ACCOUNT")
  run gcloud compute tpus queued-resources create "$TPU_NAME" --node-id="$TPU_NAME" "${at[@]}" \
    --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION" \
    ${options[@]+"${options[@]}"} || return
  dry || wait_until_there
}

wait_until_there() {
  while :; do
    case $(standing) in
      there) return ;;
      waiting | unknown)
        say "waiting for $TPU_NAME ($(request_state)); Ctrl-C ends the waiting only"
        ;;
      lost) return 1 ;;
      failed) fail 1 "$TPU_NAME cannot be had: gcloud compute tpus queued-resources describe" ;;
      absent) fail 1 "$TPU_NAME is not there any more: somebody has deleted the request" ;;
    esac
    sleep "$poll"
  done
}

# There is no published package: the workers get the last commit, and install it by pip's rules.
setup() {
  local archive
  git -C "$repository" rev-parse --verify --quiet HEAD >/dev/null ||
    fail 2 "$repository is not a git repository with a commit: what would the workers run?"
  [ -z "$(git -C "$repository" status --porcelain)" ] ||
    say 'changes that are not committed stay here: the workers get the last commit'
  archive=${TMPDIR:-/tmp}/gazax.tar.gz # in a dry run, so that the lines can be pasted
  dry || archive=$(mktemp -d)/gazax.tar.gz
  run git -C "$repository" archive --format=tar.gz --output="$archive" HEAD || return
  # Machines that have just started may refuse a connection for a while.
  local tries=5
  until run gcloud compute tpus tpu-vm scp "$archive" "$TPU_NAME:gazax.tar.gz" "${at[@]}" \
    "${all[@]}"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep "$poll"
  done
  dry || rm -r "${archive%/*}"
  # The new code looks first whether a run of the old is under way.
  on_workers "set -e; rm -rf gazax/new; mkdir -p gazax/new; tar -xzf gazax.tar.gz -C gazax/new; \
bash gazax/new/launch/tpu_worker.sh idle; rm -rf gazax/code; mv gazax/new gazax/code; \
$worker_script setup $(quoted "${DATA:-}")"
}

start() {
  local limit
  limit=$(quoted "${MAX_RELAUNCHES:-20}")
  on_workers "MAX_RELAUNCHES=$limit $worker_script start $(quoted "$@")"
}

# The lines of the workers that answer: gazax-worker NAME STATE [CODE].
worker_states() {
  gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${at[@]}" "${all[@]}" \
    --command="$worker_script status" 2>/dev/null | grep '^gazax-worker ' || true
}

# Slice lost: again, as often as was agreed.
recreate() { # ARGS...
  while [ "$recreations" -lt "$max_recreations" ]; do
    recreations=$((recreations + 1))
    say "$TPU_NAME was taken away; creating it again ($recreations of $max_recreations)"
    if { [ "$(standing)" = absent ] || delete; } && create && setup && start "$@"; then
      return
    fi
    case $(standing) in
      lost | absent | unknown) sleep "$poll" ;;
      *) fail 1 "$TPU_NAME could not be set up again; see above" ;;
    esac
  done
  fail 75 "$TPU_NAME was taken away, and MAX_RECREATIONS=$max_recreations are used up: create, setup
  and the same run go on"
}

# every_worker REGEX, any_worker REGEX; of the lines in `states`.
every_worker() {
  local state
  while read -r _ _ state; do
    [[ $state =~ ^($1)$ ]] || return 1
  done <<<"$states"
}

any_worker() {
  local state
  while read -r _ _ state; do
    [[ ! $state =~ ^($1)$ ]] || return 0
  done <<<"$states"
  return 1
}

watch() { # ARGS...
  local workers states silent=0 restarts=0
  workers=$(worker_count) || fail 1 "$TPU_NAME does not say how many workers it has"
  while :; do
    sleep "$poll"
    case $(standing) in
      there) ;;
      lost)
        recreate "$@"
        workers=$(worker_count) || fail 1 "$TPU_NAME does not say how many workers it has"
        continue
        ;;
      absent) fail 1 "$TPU_NAME was deleted; the workdir has what was saved" ;;
      *) continue ;;
    esac
    states=$(worker_states)
    if [ "$(printf '%s' "$states" | grep -c .)" -ne "$workers" ]; then
      silent=$((silent + 1))
      say "not all of the $workers workers answer ($silent of $silent_polls)"
      [ "$silent" -lt "$silent_polls" ] ||
        fail 1 "workers do not answer: tpu_pod.sh status; the run goes on there, if it does"
      continue
    fi
    silent=0
    if any_worker 'running'; then
      continue # the others end by themselves: JAX's own heartbeat ends what lost a peer
    fi
    # Nobody runs. A host goes before the slice is said to be lost, and takes its peers with it, so
    # that their codes count only where the slice is still there a while later.
    sleep "$poll"
    [ "$(standing)" = there ] || continue
    printf '%s\n' "$states"
    if every_worker 'exit 0'; then
      say 'done'
      return
    elif any_worker '(exit|stopped) 2'; then
      fail 2 'wrong input: tpu_pod.sh logs'
    elif any_worker 'stopped [0-9]+'; then
      fail 75 'stopped; the same command goes on'
    elif any_worker 'gone' && [ "$restarts" -lt "${MAX_RELAUNCHES:-20}" ]; then
      restarts=$((restarts + 1))
      say "a worker was restarted; starting again ($restarts of ${MAX_RELAUNCHES:-20})"
      start "$@" || continue
    elif every_worker 'exit (0|75)|gone'; then
      fail 75 'interrupted too often (MAX_RELAUNCHES); the same command goes on'
    else
      fail 1 'failed, and is not started again: tpu_pod.sh logs'
    fi
  done
}

run_on_pod() { # ARGS...
  require_bucket "$@"
  if dry; then
    start "$@"
    printf '# then, every %s s, until it is done:\n' "$poll"
    on_workers "$worker_script status"
    [ "$max_recreations" = 0 ] || {
      printf '# and when the slice is preempted, %s times at most:\n' "$max_recreations"
      delete && create && setup && start "$@"
    }
    return
  fi
  case $(standing) in
    there) start "$@" || fail 1 "the run did not start on every worker; was it set up?" ;;
    absent) fail 2 "$TPU_NAME is not there: tpu_pod.sh create, then setup" ;;
    waiting) fail 2 "$TPU_NAME is not there yet ($(request_state)): wait with tpu_pod.sh create" ;;
    lost) recreate "$@" ;;
    failed) fail 1 "$TPU_NAME cannot be had: gcloud compute tpus queued-resources describe" ;;
    unknown) fail 1 "gcloud: $(cat "$errors")" ;;
  esac
  watch "$@"
}

status() {
  if dry; then
    run gcloud compute tpus queued-resources describe "$TPU_NAME" "${at[@]}" \
      --format='value(state.state)'
    run gcloud compute tpus tpu-vm describe "$TPU_NAME" "${at[@]}" --format='value(state)'
    on_workers "$worker_script status"
    return
  fi
  printf 'request %s\nslice %s\n' "$(request_state)" "$(slice_state)"
  [ "$(standing)" != there ] || on_workers "$worker_script status"
}

logs() {
  case ${1:-0} in
    all) on_workers "$worker_script log" ;;
    *[!0-9]*) fail 2 "worker '$1' is neither a number nor 'all'" ;;
    *) on_worker "${1:-0}" "$worker_script log -F" ;;
  esac
}

stop() { on_workers "$worker_script stop"; }

# --force: also where the slice is still there (gcloud compute tpus queued-resources delete --help).
delete() {
  run gcloud compute tpus queued-resources delete "$TPU_NAME" "${at[@]}" --force --quiet
}

verb=${1:-}
[ $# -eq 0 ] || shift
case $verb in
  create | setup | status | logs | stop | delete)
    configure
    "$verb" "$@"
    ;;
  run)
    configure
    run_on_pod "$@"
    ;;
  *) fail 2 "'$verb' is none of create, setup, run, status, logs, stop, delete" ;;
esac
