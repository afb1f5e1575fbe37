#!/usr/bin/env bash
# Run Airflow on this machine and for it alone, with the DAGs of this folder, until Ctrl-C: make airflow.
# `airflow standalone` is not taken: it also serves its logs to the whole network.
set -euo pipefail
export PATH="$PWD/.venv-airflow/bin:$PATH" AIRFLOW_HOME="$PWD/.airflow"
port=${AIRFLOW_PORT:-8080}
url=http://127.0.0.1:$port

stop() {
  echo "error: $1" >&2
  exit 1
}

case $port in
*[!0-9]* | "" | ??????*) stop "AIRFLOW_PORT is $port; expected the number of a port: make airflow AIRFLOW_PORT=8090" ;;
esac
python -c "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', $port))" 2>/dev/null || stop "port $port can't be had; take another one: make airflow AIRFLOW_PORT=8090"

export AIRFLOW__CORE__DAGS_FOLDER="$PWD/deploy/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=false AIRFLOW__CORE__PARALLELISM=2
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=true # without a login, as `make ui` is: nobody else reaches it
export AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__API__PORT="$port" AIRFLOW__API__BASE_URL="$url" AIRFLOW__API__WORKERS=1
export AIRFLOW__CORE__EXECUTION_API_SERVER_URL="$url/execution/"
mkdir -p "$AIRFLOW_HOME"
echo "Airflow starts; its logs are in .airflow/."
airflow db migrate >"$AIRFLOW_HOME/database.log" 2>&1 || stop "Airflow can't set up its database; .airflow/database.log says why."

# With job control each part leads a group of its own: Ctrl-C reaches this script alone, which ends them once and whole.
set -m
parts=()
for part in "api-server" "scheduler --skip-serve-logs" "dag-processor"; do
  # shellcheck disable=SC2086 # a command and its option
  airflow $part >"$AIRFLOW_HOME/${part%% *}.log" 2>&1 &
  parts+=($!)
done
set +m
end() {
  trap "" INT TERM
  kill "${parts[@]}" 2>/dev/null || :
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 "${parts[@]}" 2>/dev/null || break # none is left
    sleep 1
  done
  for part in "${parts[@]}"; do
    kill -KILL -- "-$part" 2>/dev/null || :
  done
}
trap end EXIT
trap 'exit 0' INT TERM

ready=
while :; do
  for part in "${parts[@]}"; do
    kill -0 "$part" 2>/dev/null || stop "a part of Airflow has ended; .airflow/*.log say why."
  done
  if [ -z "$ready" ] && python -c "
import json, urllib.request
health = json.load(urllib.request.urlopen('$url/api/v2/monitor/health', timeout=5))
assert all(health[part]['status'] == 'healthy' for part in ('metadatabase', 'scheduler', 'dag_processor'))" 2>/dev/null; then
    ready=1
    echo "Airflow is at $url; Ctrl-C ends it."
  fi
  sleep 1
done
