#!/usr/bin/env bash
# A TPU slice on a GKE cluster that xpk made (github.com/AI-Hypercomputer/xpk).
#
#   xpk.sh --config=FILE --workdir=gs://BUCKET/FOLDER [ARGS of gazax.main...]
#
# README.md has the variables. DRY_RUN=1 prints the command.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/command_line.sh" || exit 2

require \
  'JOB_NAME: a name for the run, of small letters, digits and -' \
  'CLUSTER: the name that xpk cluster create gave it' \
  'PROJECT: the Google Cloud project' \
  'ZONE: of the cluster, such as us-west4-a' \
  'IMAGE: of launch/Dockerfile with ACCELERATOR=tpu, in a registry' \
  'ACCELERATOR_TYPE: such as v5litepod-16'
require_bucket "$@"
require_one_line "$@"  # xpk puts the command into a line of YAML

options=()
[ "${SPOT:-0}" = 0 ] || options+=(--spot)
[ -z "${STORAGE:-}" ] || options+=(--storage="$STORAGE")

# exec: xpk runs the command in a shell in the background and sends SIGTERM to that shell.
# Restarts: xpk takes codes 42 and 127 to 255 for machines that went, and the ones given here; 1 and
# 2 are final (xpk workload create --help).
run xpk workload create --cluster="$CLUSTER" --project="$PROJECT" --zone="$ZONE" \
  --workload="$JOB_NAME" --tpu-type="$ACCELERATOR_TYPE" --docker-image="$IMAGE" \
  --max-restarts="${MAX_RELAUNCHES:-20}" --restart-on-exit-codes=75 \
  --termination-grace-period-seconds=300 ${options[@]+"${options[@]}"} \
  --command="exec $(quoted python -m gazax.main "$@")"
