#!/bin/sh
# Do one task of dags.py in this checkout, with its .venv: stage NAME [--force] | release RUN | monitor ... | retrain ALERT ...
# deploy/pipeline.sh does the same in a pod. Exit status 99 skips the task.
set -eu
[ -x .venv/bin/dvc ] || {
  echo "error: $PWD has no environment; type there: make setup" >&2
  exit 1
}
export PATH="$PWD/.venv/bin:$PATH"
verb=$1
shift

case $verb in
stage)
  # shellcheck disable=SC2086 # without --force there is no word
  dvc --wait-for-lock repro --single-item ${2:-} "$1"
  ;;
release)
  # A version names a commit: what the stages came to has to be in one. Where more has changed, release says so.
  case $(git status --porcelain -- . ':!docs') in
  ??" $(git rev-parse --show-prefix)dvc.lock")
    git add dvc.lock
    git commit --quiet --message "Reproduce: $1" -- dvc.lock
    ;;
  esac
  modelcycle release
  ;;
monitor)
  status=0
  modelcycle monitor "$@" || status=$?
  [ $status = 0 ] || [ $status = 2 ] || exit $status
  echo $status # the last line is what retrain is given
  ;;
retrain)
  [ "$1" = 2 ] || exit 99
  shift
  modelcycle retrain "$@"
  ;;
esac
