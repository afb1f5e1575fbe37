#!/bin/sh
# Bring an environment to an image, named by its digest, and wait until it answers: apply.sh ENV IMAGE@sha256:DIGEST
# PIPELINE_IMAGE is what monitor and retrain run in; without it, they keep what they have.
# `make deploy` calls it. deploy/openshift/apply.sh calls it for its own overlays, with oc.
set -eu
environment=$1 image=$2
overlay=${OVERLAYS:-$(dirname "$0")/overlays}/$environment
client=${CLIENT:-kubectl}

stop() {
  echo "error: $1" >&2
  exit 1
}

[ -d "$overlay" ] || stop "there is no environment $environment; a folder $overlay would make one."
for named in "$image" "${PIPELINE_IMAGE:-@sha256:}"; do
  case $named in
  *@sha256:*) ;;
  *) stop "the image is $named; expected IMAGE@sha256:DIGEST, which can't change its meaning." ;;
  esac
done
command -v "$client" >/dev/null || stop "there is no $client on the PATH; README.md beside this script says where it comes from."

manifests=$("$client" kustomize "$overlay")
if left=$(printf '%s\n' "$manifests" | grep 'example\.com'); then
  stop "deploy/ still holds addresses of the template; write your own, in base/ and overlays/$environment/:
$left"
fi
namespace=$(printf '%s\n' "$manifests" | sed -n 's/^  namespace: //p' | sort -u)

in_use='{.spec.jobTemplate.spec.template.spec.containers[0].image}'
pipeline=${PIPELINE_IMAGE:-$("$client" --namespace "$namespace" get cronjob monitor --ignore-not-found --output "jsonpath=$in_use")}
[ "$pipeline" ] || stop "monitor and retrain have no image yet: make image push, then deploy again."
manifests=$(printf '%s\n' "$manifests" | sed "s|image: service\$|image: $image|; s|image: pipeline\$|image: $pipeline|")

printf '%s\n' "$manifests" | "$client" apply --filename -
if ! "$client" --namespace "$namespace" rollout status deployment/service --timeout 10m; then
  of_service="--namespace $namespace --selector app.kubernetes.io/component=service"
  # shellcheck disable=SC2086 # of_service is several words
  "$client" get pods $of_service >&2 || true
  stop "the new pods don't become ready; those that were there go on answering. Look why:
  $client describe pods $of_service
  $client logs $of_service --all-containers --tail 50
and go back to the image before: make deploy ENV=$environment DIGEST=sha256:..."
fi
