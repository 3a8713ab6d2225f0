#!/usr/bin/env bash
# Stands in for a command that a bare machine has not, in bash because a test calls dozens:
#
#   command.sh FOLDER NAME WORD...
#
# It writes what it was called with to FOLDER/calls.jsonl, and answers from FOLDER/answers/KEY, a line
# a call, of which the last stays.
set -euo pipefail
folder=$1 name=$2
shift 2

json() { # a JSON string; control characters are not expected
  local word=${1//\\/\\\\}
  printf '"%s"' "${word//\"/\\\"}"
}

answer() { # KEY DEFAULT
  local lines file=$folder/answers/$1
  reply=$2
  [ -e "$file" ] || return 0
  exec 9<"$file"
  flock 9
  mapfile -t lines <"$file"
  reply=${lines[0]}
  [ ${#lines[@]} = 1 ] || printf '%s\n' "${lines[@]:1}" >"$file"
  exec 9<&-
}

record() { # [NAME VALUE]...
  local word list='' more='' key
  for word in "${words[@]}"; do list+=${list:+, }$(json "$word"); done
  while [ $# -gt 0 ]; do
    key=$1
    more+=", \"$key\": $2"
    shift 2
  done
  printf '{"name": "%s", "words": [%s]%s}\n' "$name" "$list" "$more" >>"$folder/calls.jsonl"
}

# A slice of two machines, each a home folder, in which is done what ssh is asked.
gcloud() {
  local worker='' command='' word code=0
  case "$3 $4" in
    'queued-resources create') mkdir -p "$folder/workers/0" "$folder/workers/1" ;;
    'queued-resources delete') rm -rf "$folder/workers" ;;
    'queued-resources describe')
      answer request ACTIVE
      case $reply in
        ABSENT) echo "NOT_FOUND: no such resource" >&2 && return 1 ;;
        BROKEN) echo "no network" >&2 && return 1 ;;
        *) echo "$reply" ;;
      esac
      ;;
    'tpu-vm describe')
      case "$*" in
        *--flatten*) printf '10.0.0.1\n10.0.0.2\n' ;;
        *)
          answer slice READY
          echo "$reply"
          ;;
      esac
      ;;
    'tpu-vm scp')
      answer scp works
      [ "$reply" = works ] || return 255
      for word in 0 1; do cp "$5" "$folder/workers/$word/${6#*:}"; done
      ;;
    'tpu-vm ssh')
      for word in "$@"; do
        case $word in
          --command=*) command=${word#*=} ;;
          --worker=*) worker=${word#*=} ;;
        esac
      done
      answer ssh works
      [ "$reply" = works ] || return 255
      for word in 0 1; do
        [ "$worker" = all ] || [ "$worker" = "$word" ] || continue
        (cd "$folder/workers/$word" && HOME=$PWD HOSTNAME=w-$word bash -c "$command") || code=$?
      done
      return "$code"
      ;;
  esac
}

# Makes virtual environments whose python is a training command.
python3() {
  case "$*" in
    '-m uv venv'*) mkdir -p "${!#}/bin" && cp "$folder/bin/trainer" "${!#}/bin/python" ;;
  esac
}

# Ends with the next code of its machine. `wait` is to train until SIGTERM; `lost` that the machine
# goes, so that what relaunches is not left to write a code either.
trainer() {
  if [ -e "$folder/answers/codes-$HOSTNAME" ]; then
    answer "codes-$HOSTNAME" 0
  else
    answer codes 0
  fi
  case $reply in
    wait)
      trap 'exit 75' TERM
      : >"$folder/waiting-$HOSTNAME"
      for _ in {1..1200}; do sleep 0.05; done
      ;;
    lost) kill -KILL "$PPID" ;;
    *) return "$reply" ;;
  esac
}

srun() {
  while [ "${1#-}" != "$1" ]; do shift; done
  "$@"
}

words=("$@")
case $name in
  trainer)
    record host "$(json "$HOSTNAME")" cwd "$(json "$PWD")" data "$(json "${GAZAX_DATA:-}")" \
      devices "$(json "${JAX_LOCAL_DEVICE_IDS:-}")"
    trainer
    ;;
  kubectl)
    manifest=$(cat)
    record stdin "$(json "${manifest//$'\n'/@n}")"
    ;;
  *)
    record
    case $name in gcloud | python3 | srun) "$name" "$@" ;; esac
    ;;
esac
