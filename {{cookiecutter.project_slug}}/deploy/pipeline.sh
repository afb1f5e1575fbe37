#!/bin/sh
# Run monitor, retrain or dask in a fresh clone of GIT_REPOSITORY: the pipeline's image begins here.
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

[ "$1" != dask ] || exec "$@" # a scheduler or a worker: docs/scale.md
if [ "$1" = monitor ]; then
  python -m modelcycle "$@" || [ $? = 2 ] # an alert: the service shows it to Prometheus
{%- if 'airflow' in cookiecutter.__rooms %}
elif [ "$1" = stage ]; then # NAME [--force]: what the stages before have made is in DVC's remote, by its run cache
  python -m dvc pull --quiet --run-cache --allow-missing
  python -m dvc repro --pull "$2"
  [ -z "${3:-}" ] || python -m dvc repro --single-item --force "$2"
  python -m dvc push --quiet --run-cache
elif [ "$1" = release ]; then # RUN: what the stages came to is committed and pushed first, since a version names a commit
  python -m dvc pull --quiet --run-cache --allow-missing
  python -m dvc repro --pull
  git add dvc.lock
  if ! git diff --cached --quiet; then
    git commit --quiet --message "Reproduce: $2"
    python -m dvc push --quiet
    git push --quiet origin HEAD
  fi
  python -m modelcycle release
{%- endif %}
else
  python -m dvc pull --quiet --allow-missing
  python -m modelcycle "$@"
{%- if 'airflow' in cookiecutter.__rooms %}
  [ "$(git rev-parse HEAD)" != "$(git rev-parse "@{upstream}")" ] || exit "${NOTHING_DONE:-0}"
{%- endif %}
fi
