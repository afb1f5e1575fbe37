#!/bin/sh
# Run monitor or retrain in a fresh clone of GIT_REPOSITORY: the pipeline's image begins here.
set -eu
git config --global user.name "${GIT_USER:-{{ cookiecutter.project_slug }} pipeline}"
git config --global user.email "${GIT_EMAIL:-pipeline@localhost}"
# shellcheck disable=SC2016 # git's shell expands it; the folder is there where a Secret holds the password
git config --global credential.helper \
  '!f() { echo "username=$(cat /run/git/username)"; echo "password=$(cat /run/git/password)"; }; f'

git clone --quiet --branch "${GIT_BRANCH:-main}" \
  "${GIT_REPOSITORY:?is not set; expected the address of the git repository}" /tmp/project
cd /tmp/project
cmp -s uv.lock /app/uv.lock || {
  echo "error: uv.lock is not the one that this image was built with: make image push, then deploy." >&2
  exit 1
}
export PYTHONPATH="$PWD/src" # the clone's code, with the libraries of the image

if [ "$1" = monitor ]; then
  python -m {{ cookiecutter.package_name }} "$@" || [ $? = 2 ] # an alert: the service shows it to Prometheus
else
  python -m dvc pull --quiet --allow-missing
  python -m {{ cookiecutter.package_name }} "$@"
fi
