#!/bin/sh
# Run a verb, such as monitor or retrain, in a fresh clone of GIT_REPOSITORY: the pipeline's image begins here.
# What retrain commits is pushed, data and models to DVC's remote, also where the gate rejects the model.
set -eu
git config --global user.name "${GIT_USER:-{{ cookiecutter.project_slug }} pipeline}"
git config --global user.email "${GIT_EMAIL:-pipeline@localhost}"
git clone --quiet "${GIT_REPOSITORY:?is not set; expected the address of the project's git repository}" /tmp/project
cd /tmp/project
cmp -s uv.lock /app/uv.lock || {
  echo "error: uv.lock is not the one that this image was built with: make image PIPELINE=1, then push it." >&2
  exit 1
}
before=$(git rev-parse HEAD)
[ "$1" != retrain ] || dvc pull --quiet
status=0
PYTHONPATH=src {{ cookiecutter.project_slug }} "$@" || status=$?
if [ "$(git rev-parse HEAD)" != "$before" ]; then
  dvc push --quiet
  git push --quiet
fi
exit $status
