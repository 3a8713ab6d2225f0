# shellcheck shell=bash
# Sourced by the scripts that run on one's own machine: what they ask of the environment, and how
# DRY_RUN=1 shows a command.

# fail CODE MESSAGE; 1 is a failing run and 2 a mistake in what was given, as for `gazax.main`.
fail() {
  printf '%s: %s\n' "${0##*/}" "$2" >&2
  exit "$1"
}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# require 'NAME: what it is'...; one error that names every variable that is unset.
require() {
  local line unset_ones=''
  for line in "$@"; do
    local name=${line%%:*}
    [ -n "${!name:-}" ] || unset_ones+=$'\n'"  $line"
  done
  [ -z "$unset_ones" ] || fail 2 "set in the environment:$unset_ones"
}

# quoted WORD...; the words as one line that a shell reads back as they are.
quoted() {
  local line
  printf -v line '%q ' "$@"
  printf '%s' "${line% }"
}

dry() {
  case ${DRY_RUN:-0} in
    1) return 0 ;;
    0) return 1 ;;
    *) fail 2 "DRY_RUN is '$DRY_RUN'; 1 prints what would run, 0 runs it" ;;
  esac
}

# run WORD...; runs the command, or prints it.
run() {
  if dry; then
    printf '%s\n' "$(quoted "$@")"
  else
    "$@"
  fi
}

# require_bucket ARG...; hosts share no disk, and a preempted one takes its own with it.
require_bucket() {
  local workdir='' before=''
  local arg
  for arg in "$@"; do
    case $before in --workdir | -workdir) workdir=$arg ;; esac
    case $arg in --workdir=* | -workdir=*) workdir=${arg#*=} ;; esac
    before=$arg
  done
  case $workdir in
    gs://?*) ;;
    *) fail 2 "give --workdir=gs://BUCKET/FOLDER (found '$workdir'): the hosts share no disk, and
  a host that is taken away takes its own with it" ;;
  esac
}

# require_one_line WORD...; what goes into a manifest.
require_one_line() {
  local word
  for word in "$@"; do
    case $word in
      *[[:cntrl:]]*) fail 2 "$(quoted "$word") has a line break or another control character" ;;
    esac
  done
}

# require_gs NAME; a variable that may be empty, but is a bucket otherwise.
require_gs() {
  case ${!1:-} in
    '' | gs://?*) ;;
    *) fail 2 "$1='${!1}' is not in a bucket; give gs://BUCKET/FOLDER" ;;
  esac
}
