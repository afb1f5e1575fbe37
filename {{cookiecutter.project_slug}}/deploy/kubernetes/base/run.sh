#!/bin/sh
# What the CronJobs' pods do: clone the repository, run monitor or retrain in it, push what retrain has committed.
set -eu
export HOME=/tmp DVC_SITE_CACHE_DIR=/tmp/dvc # nothing else can be written to
git config --global user.name "retrain"
git config --global user.email "retrain@$(hostname)"
# shellcheck disable=SC2016 # git's shell expands it
git config --global credential.helper \
  '!f() { echo "username=$(cat /run/git/username)"; echo "password=$(cat /run/git/password)"; }; f'

git clone --quiet --branch "$GIT_BRANCH" "$GIT_REPOSITORY" /tmp/repository
cd /tmp/repository

# The code is the clone's, the image has the libraries. dvc.yaml calls it by its name.
export PYTHONPATH="$PWD/src" PATH="/tmp/bin:$PATH"
mkdir /tmp/bin
printf '#!/bin/sh\nexec python -m {{ cookiecutter.package_name }} "$@"\n' > /tmp/bin/{{ cookiecutter.project_slug }}
chmod +x /tmp/bin/{{ cookiecutter.project_slug }}

if [ "$1" = monitor ]; then
  python -m {{ cookiecutter.package_name }} monitor || [ $? = 2 ] # an alert: the service shows it to Prometheus
  exit
fi
start=$(git rev-parse HEAD)
python -m dvc pull --quiet
target=$GIT_BRANCH
python -m {{ cookiecutter.package_name }} retrain --if-alert || target=
[ "$(git rev-parse HEAD)" != "$start" ] || exec test "$target" # nothing new, or it could not be done
python -m dvc push --quiet
if [ -z "$target" ] || ! git push --quiet origin "HEAD:refs/heads/$target"; then
  own=retrain-$(git rev-parse --short HEAD) # the version names this commit, so it must not be lost
  git push --quiet origin "HEAD:refs/heads/$own"
  echo "error: the commit is on the branch $own: the gate refused it, or $GIT_BRANCH does not take it." >&2
  exit 1
fi
