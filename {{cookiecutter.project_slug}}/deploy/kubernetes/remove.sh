#!/bin/sh
# Take an environment out of the cluster: remove.sh ENV. Namespace, Secrets and the database stay.
set -eu
overlay=${OVERLAYS:-$(dirname "$0")/overlays}/$1
client=${CLIENT:-kubectl}
command -v "$client" >/dev/null || { echo "There is no $client on the PATH; see README.md." >&2; exit 1; }
manifests=$("$client" kustomize "$overlay")
printf '%s\n' "$manifests" | "$client" delete --ignore-not-found --filename -
