#!/bin/sh
# Start an environment, or update its service without a dropped request: apply.sh staging|production IMAGE@DIGEST
# All of it lives in one folder of the server, /srv/NAME/ENV, which holds this folder's files, the secrets and .env.
# DOCKER_HOST=ssh://user@server does so over there; no secret leaves the server.
set -eu
name={{ cookiecutter.project_slug }}
fail() { echo "$*" >&2; exit 1; }
[ $# = 2 ] || fail "Type: apply.sh staging|production IMAGE@DIGEST"
environment=$1 image=$2
case $environment in staging | production) ;; *) fail "The environment is $environment; expected staging or production." ;; esac
case $image in *@sha256:*) ;; *) fail "The image is $image; expected one by digest, as registry/name@sha256:..." ;; esac
here=$(cd "$(dirname "$0")" && pwd -P)
root=${SERVER_ROOT:-/srv/$name}/$environment

# Bring the files to their place, and go on there.
bring() { tar -C "$here/.." -cf - server monitoring; }
there="mkdir -p '$root/deploy' && tar -C '$root/deploy' -xf - &&
  SERVER_ROOT='${root%/*}' '$root/deploy/server/apply.sh' '$environment' '$image'"
case ${DOCKER_HOST:-} in
  ssh://*)
    # shellcheck disable=SC2029 # the names are filled in here, for over there
    bring | ssh "$DOCKER_HOST" "$there"
    exit
    ;;
esac
if [ "$here" != "$(cd "$root/deploy/server" 2>/dev/null && pwd -P)" ]; then
  bring | sh -c "$there"
  exit
fi

docker compose version >/dev/null 2>&1 || fail "There is no Docker with Compose here; deploy/server/README.md says which."
cd "$root"
unset COMPOSE_FILE COMPOSE_PROJECT_NAME COMPOSE_PROFILES IMAGE # .env says so
exec 9>.lock && flock 9 # one update at a time
umask 027
mkdir -p secrets
for file in tls.crt tls.key alert_webhook; do
  [ -s "secrets/$file" ] || fail "$root/secrets/$file is missing; deploy/server/README.md says what it is."
done
new_password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
for file in postgres_password grafana_password metrics_key; do
  [ -s "secrets/$file" ] || new_password >"secrets/$file"
done
for database in predictions mlflow; do
  [ -s "secrets/${database}_database" ] ||
    printf '[%s]\nhost=postgres\ndbname=%s\nuser=%s\npassword=%s\n' \
      "$database" "$database" "$database" "$(new_password)" >"secrets/${database}_database"
done
digest=$(sha256sum <secrets/metrics_key | cut -c1-64)
grep -qs "$digest" secrets/api_keys || echo "$digest" >>secrets/api_keys
# The parts run as users of their own in group 0, which reads the secrets; nobody else does.
wrong=$(find secrets -type f \( ! -group 0 -o ! -perm -g=r -o -perm /o=rwx \) -exec echo "$root/{}" \; | tr '\n' ' ')
[ -z "$wrong" ] || fail "Group 0 alone has to read the secrets. Type: sudo chgrp 0 $wrong&& sudo chmod 640 $wrong"

# .env tells docker compose, in this folder, all it has to know: what was set by hand stays.
remember() { # slot, image
  { grep -vE '^(COMPOSE_FILE|COMPOSE_PROJECT_NAME|COMPOSE_PROFILES|IMAGE)=' .env 2>/dev/null || true
    printf '%s\n' "COMPOSE_FILE=$here/compose.yaml" "COMPOSE_PROJECT_NAME=$name-$environment" \
      "COMPOSE_PROFILES=$1" "IMAGE=$2"; } >.env.new
  mv .env.new .env
}
old=$(sed -n 's/^COMPOSE_PROFILES=//p' .env 2>/dev/null || true)
[ -n "$old" ] || remember "" "$image"
case $old in blue) new=green ;; *) new=blue ;; esac

docker compose up --detach --wait postgres
for database in predictions mlflow; do # each with a user that has no rights elsewhere
  docker compose exec -T postgres psql --quiet --username=postgres --set=ON_ERROR_STOP=1 --output=/dev/null <<SQL
select 'create role $database login' where not exists (select from pg_roles where rolname = '$database') \gexec
select 'create database $database owner $database'
  where not exists (select from pg_database where datname = '$database') \gexec
alter role $database password '$(sed -n 's/^password=//p' "secrets/${database}_database")';
revoke connect, temporary on database $database from public;
SQL
done
docker compose run --rm --no-deps --user 0:0 --entrypoint chmod mlflow 2770 /artifacts # a new volume is root's alone
docker compose up --detach --no-deps mlflow prometheus alertmanager grafana
docker compose up --detach --wait --no-deps proxy
for part in prometheus alertmanager; do # they read their files again; docker kill would end their restarts as well
  docker compose exec -T "$part" sh -c "kill -HUP 1" || echo "$part does not run; its log says why." >&2
done

tell_proxy() { docker compose exec -T proxy bash -c "exec 3<>/dev/tcp/127.0.0.1/9999 && echo '$1' >&3 && cat <&3"; }
facts() { tell_proxy "show stat" | awk -F, -v slot="$1" '$1 == "service" && $2 == slot {print $5, $18}'; } # busy, state
wait_until() { # command...: at most half a minute
  tries=0
  until "$@"; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || return 1
    sleep 0.5
  done
}
is_up() { case $(facts "$1") in *" UP"*) ;; *) false ;; esac; }
is_idle() { case $(facts "$1") in "0 "*) ;; *) false ;; esac; }
set_state() { tell_proxy "set server service/$1 state $2" >/dev/null; }
start_new() {
  set_state "$new" maint # no request before it is ready
  IMAGE=$image docker compose up --detach --wait --wait-timeout 180 --no-deps --force-recreate "$new" || return 1
  set_state "$new" ready
  wait_until is_up "$new"
}

if ! start_new; then
  set_state "$new" maint
  docker compose logs --tail 20 "$new" >&2
  docker compose rm --stop --force "$new"
  fail "$image does not get ready: its log is above. ${old:+What ran before goes on.}"
fi
remember "$new" "$image"
if [ -n "$old" ]; then
  set_state "$old" drain
  wait_until is_idle "$old" || true # what is left by then has as long again to end
  docker compose rm --stop --force "$old"
fi
if ! cmp -s "$here/haproxy.cfg" .haproxy.cfg; then # the proxy reads its file again; open connections stay
  docker compose exec -T proxy sh -c "kill -USR2 1"
  cp "$here/haproxy.cfg" .haproxy.cfg
fi
echo "$environment runs $image"
