#!/bin/sh
# Keep or bring back the prediction log and MLflow: backup.sh ENV save FOLDER, or backup.sh ENV restore FOLDER/TIME
# Runs on the server, as root or in the group docker. The service answers during save, and is stopped during restore.
set -eu
[ $# = 3 ] || { echo "Type: backup.sh staging|production save|restore FOLDER" >&2; exit 1; }
environment=$1 action=$2
folder=$(cd "$3" && pwd)
cd "${SERVER_ROOT:-/srv/{{ cookiecutter.project_slug }}}/$environment"
exec 9>.lock && flock 9 # no update meanwhile
umask 077
artifacts() { docker compose run --rm -T --no-deps --entrypoint sh mlflow -c "$1"; }

save() {
  backup=$folder/$(date -u +%Y-%m-%dT%H%M%SZ)
  part=$backup.part # renamed when all of it is there
  mkdir "$part"
  for database in predictions mlflow; do # before the artifacts: what a version names is then among them
    docker compose exec -T postgres pg_dump --username=postgres --format=custom "$database" >"$part/$database.dump"
  done
  artifacts "cd /artifacts && find . -mindepth 1 -maxdepth 1 -print0 | tar --null -T - -czf -" >"$part/artifacts.tar.gz"
  (cd "$part" && sha256sum -- * >SHA256SUMS)
  mv "$part" "$backup"
  echo "$backup"
}

restore() {
  (cd "$folder" && sha256sum --check --strict SHA256SUMS) # fails before anything is touched
  slot=$(sed -n 's/^COMPOSE_PROFILES=//p' .env)
  set -- ${slot:+"$slot"} mlflow
  stopped=$*
  docker compose stop "$@"
  trap 'echo "Not restored: $stopped stay stopped. Mend what is said above, and restore again." >&2' EXIT
  for database in predictions mlflow; do
    docker compose exec -T postgres pg_restore --username=postgres --dbname="$database" --role="$database" --no-owner \
      --clean --if-exists --single-transaction --exit-on-error <"$folder/$database.dump"
  done
  artifacts "find /artifacts -mindepth 1 -delete && tar -C /artifacts -xzf -" <"$folder/artifacts.tar.gz"
  trap - EXIT
  docker compose up --detach --wait --no-deps "$@"
}

case $action in
  save) save ;;
  restore) restore ;;
  *) echo "The action is $action; expected save or restore." >&2 && exit 1 ;;
esac
