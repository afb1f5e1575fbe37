#!/bin/sh
# Run monitor or retrain in a fresh clone of GIT_REPOSITORY, and push what retrain commits: the pipeline's image begins here.
set -eu
git config --global user.name "${GIT_USER:-{{ cookiecutter.project_slug }} pipeline}"
git config --global user.email "${GIT_EMAIL:-pipeline@localhost}"
# shellcheck disable=SC2016 # git's shell expands it; the folder is there where a Secret holds the password
git config --global credential.helper \
  '!f() { echo "username=$(cat /run/git/username)"; echo "password=$(cat /run/git/password)"; }; f'

branch=${GIT_BRANCH:-main}
git clone --quiet --branch "$branch" \
  "${GIT_REPOSITORY:?is not set; expected the address of the git repository}" /tmp/project
cd /tmp/project
cmp -s uv.lock /app/uv.lock || {
  echo "error: uv.lock is not the one that this image was built with: make image push PIPELINE=1, then deploy." >&2
  exit 1
}
export PYTHONPATH="$PWD/src" # the clone's code, with the libraries of the image

if [ "$1" = monitor ]; then
  python -m {{ cookiecutter.package_name }} "$@" || [ $? = 2 ] # an alert: the service shows it to Prometheus
  exit
fi
before=$(git rev-parse HEAD)
python -m dvc pull --quiet
target=$branch
python -m {{ cookiecutter.package_name }} "$@" || target=
[ "$(git rev-parse HEAD)" != "$before" ] || exec test "$target" # nothing new, or it could not be done
python -m dvc push --quiet
if [ -z "$target" ] || ! git push --quiet origin "HEAD:refs/heads/$target"; then
  own=retrain-$(git rev-parse --short HEAD) # the version names this commit, so it must not be lost
  git push --quiet origin "HEAD:refs/heads/$own"
  echo "error: the commit is on the branch $own: the gate refused it, or $branch does not take it." >&2
  exit 1
fi
