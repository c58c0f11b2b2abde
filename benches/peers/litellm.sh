#!/bin/sh
# The LiteLLM proxy and our gateway side by side, before the same upstream on loopback: what a 4 KB call of Chat Completions
# costs each in processor time, and adds in latency. LiteLLM is installed by pip, as pip is set up here, into a temporary
# folder that is removed. Prints one line of JSON a figure.
#
# usage: benches/peers/litellm.sh [LITELLM-VERSION]
set -eu
cd "$(dirname "$0")/../.."
version=${1:-}
cargo build --release -p benches --bin gateway
bench=${CARGO_TARGET_DIR:-target}/release/gateway
folder=$(mktemp -d)
upstream='' proxy=''
end() {
    for process in $proxy $upstream; do kill "$process" 2>/dev/null || true; done
    rm -rf "$folder"
}
trap end EXIT INT TERM

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "litellm[proxy]${version:+==$version}"
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
up=$(port)
at=$(port)
"$bench" upstream "127.0.0.1:$up" &
upstream=$!
cat >"$folder/config.yaml" <<YAML
model_list:
  - model_name: gpt-4.1
    litellm_params: {model: openai/gpt-4.1, api_base: "http://127.0.0.1:$up/v1", api_key: sk-upstream}
general_settings: {master_key: sk-virtual}
litellm_settings: {telemetry: false}
YAML
LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR "$folder/venv/bin/litellm" \
    --config "$folder/config.yaml" --host 127.0.0.1 --port "$at" --num_workers 1 >"$folder/log" 2>&1 &
proxy=$!
tries=0
until python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$at/health/liveliness', timeout=5)" 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 120 ] || ! kill -0 $proxy 2>/dev/null; then
        echo "litellm does not start:" >&2
        tail -20 "$folder/log" >&2
        exit 1
    fi
    sleep 1
done
"$folder/venv/bin/pip" list 2>/dev/null | awk '$1 == "litellm" { printf "{\"figure\": \"peer\", \"litellm\": \"%s\"}\n", $2 }'
"$bench" peer "http://127.0.0.1:$at" $proxy
"$bench" peer "http://127.0.0.1:$up" $upstream | sed 's/peer:/direct:/'
"$bench" calls
