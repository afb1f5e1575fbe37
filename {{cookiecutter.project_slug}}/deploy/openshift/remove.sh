#!/bin/sh
# As deploy/kubernetes/remove.sh does, with the overlays beside this script and oc.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
OVERLAYS=$here/overlays CLIENT=${CLIENT:-oc} exec "$here/../kubernetes/remove.sh" "$@"
