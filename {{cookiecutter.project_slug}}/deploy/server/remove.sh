#!/bin/sh
# Stop an environment and remove its containers: remove.sh staging|production. Data and secrets stay.
set -eu
[ $# = 1 ] || { echo "Type: remove.sh staging|production" >&2; exit 1; }
root=${SERVER_ROOT:-/srv/{{ cookiecutter.project_slug }}}/$1
case ${DOCKER_HOST:-} in
  ssh://*) exec ssh "$DOCKER_HOST" "SERVER_ROOT='${root%/*}' '$root/deploy/server/remove.sh' '$1'" ;;
esac
docker compose version >/dev/null 2>&1 || { echo "There is no Docker with Compose here; see README.md." >&2; exit 1; }
cd "$root"
docker compose --profile blue --profile green down
sed -i 's/^COMPOSE_PROFILES=.*/COMPOSE_PROFILES=/' .env # no slot is in use
echo "Removed. To delete its data as well: cd $root && docker compose down --volumes"
