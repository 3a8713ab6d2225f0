#!/usr/bin/env bash
# A TPU slice on Google Kubernetes Engine: fills in gke_jobset.yaml and creates it.
#
#   gke.sh --config=FILE --workdir=gs://BUCKET/FOLDER [ARGS of gazax.main...]
#
# The cluster has a TPU node pool, JobSet (0.5 or later), Workload Identity and, for DATA, the Cloud
# Storage FUSE driver; the image is Dockerfile's, in a registry that the cluster may read. README.md
# has the variables. DRY_RUN=1 prints the commands with the whole manifests.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=command_line.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/command_line.sh" || exit 2

here=$(cd "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

json() { # WORD; as a JSON string, which is YAML's too
  local word=${1//\\/\\\\}
  printf '"%s"' "${word//\"/\\\"}"
}

json_list() { # WORD...
  local word line=''
  for word in "$@"; do
    # Kubernetes expands $(NAME) in arguments, and reads $$ as a dollar (Container.args).
    line+="${line:+, }$(json "${word//\$/\$\$}")"
  done
  printf '[%s]' "$line"
}

# fill FILE NAME=VALUE...; the file with each ${NAME} in it replaced.
fill() {
  local file=$1 line pair
  shift
  while IFS= read -r line; do
    case $line in
      *'# with DATA') [ -n "${DATA:-}" ] || continue ;;
      *'# with SPOT') [ "${SPOT:-0}" = 1 ] || continue ;;
      '#'*) continue ;;
    esac
    for pair in "$@"; do
      line=${line//"\${${pair%%=*}}"/"${pair#*=}"}
    done
    printf '%s\n' "$line"
  done <"$file"
}

# kubectl with a manifest as its input.
kubectl_with() { # MANIFEST WORD...
  local manifest=$1
  shift
  if dry; then
    printf "%s <<'MANIFEST'\n%s\nMANIFEST\n" "$(quoted kubectl "$@")" "$manifest"
  else
    kubectl "$@" <<<"$manifest"
  fi
}

require \
  'JOB_NAME: a name for the run, of small letters, digits and -' \
  'KUBE_CONTEXT: which cluster (kubectl config get-contexts)' \
  'IMAGE: of launch/Dockerfile with ACCELERATOR=tpu, in a registry' \
  'SERVICE_ACCOUNT: the Google service account that reads the data and writes the workdir' \
  'TPU_ACCELERATOR: such as tpu-v5-lite-podslice (v5e) or tpu-v6e-slice' \
  'TPU_TOPOLOGY: chips, such as 4x4'
require_bucket "$@"
require_gs DATA
require_one_line "$@" "$IMAGE" "$SERVICE_ACCOUNT" "$TPU_ACCELERATOR" "${NAMESPACE:-}" "${DATA:-}"
[[ $JOB_NAME =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  fail 2 "JOB_NAME='$JOB_NAME': at most 40 small letters, digits and -, a letter first"
[[ $TPU_TOPOLOGY =~ ^[0-9]+(x[0-9]+){1,2}$ ]] ||
  fail 2 "TPU_TOPOLOGY='$TPU_TOPOLOGY' is not like 4x4"
chips_per_host=${CHIPS_PER_HOST:-4}
[[ $chips_per_host =~ ^[1-9][0-9]*$ ]] || fail 2 "CHIPS_PER_HOST='$chips_per_host' is not a number"
[[ ${MAX_RELAUNCHES:=20} =~ ^[0-9]+$ ]] || fail 2 "MAX_RELAUNCHES='$MAX_RELAUNCHES' is not a number"
chips=$((${TPU_TOPOLOGY//x/*}))
[ "$chips" -gt 0 ] && [ $((chips % chips_per_host)) = 0 ] ||
  fail 2 "TPU_TOPOLOGY=$TPU_TOPOLOGY: $chips chips, no multiple of CHIPS_PER_HOST=$chips_per_host"

bucket=${DATA:-}
bucket=${bucket#gs://}
folder=${bucket#"${bucket%%/*}"}
folder=${folder#/}
folder=${folder%/}
case $folder in *,*) fail 2 "DATA='$DATA': a folder with a comma cannot be mounted" ;; esac

namespace=$(json "${NAMESPACE:-default}")
account=$(fill "$here/gke_service_account.yaml" \
  NAMESPACE="$namespace" SERVICE_ACCOUNT="$(json "$SERVICE_ACCOUNT")")
arguments=$(json_list "$@")
jobset=$(fill "$here/gke_jobset.yaml" \
  JOB_NAME="$(json "$JOB_NAME")" NAMESPACE="$namespace" IMAGE="$(json "$IMAGE")" \
  TPU_ACCELERATOR="$(json "$TPU_ACCELERATOR")" TPU_TOPOLOGY="$(json "$TPU_TOPOLOGY")" \
  CHIPS_PER_HOST="$chips_per_host" HOSTS="$((chips / chips_per_host))" \
  MAX_RELAUNCHES="$MAX_RELAUNCHES" \
  BUCKET="$(json "${bucket%%/*}")" \
  MOUNT_OPTIONS="$(json "implicit-dirs${folder:+,only-dir=$folder}")" \
  ARGS="$arguments")

kubectl_with "$account" apply --context="$KUBE_CONTEXT" --filename=-
# create and not apply: a JobSet of this name, finished or not, would make apply do nothing.
kubectl_with "$jobset" create --context="$KUBE_CONTEXT" --filename=-
