#!/usr/bin/env bash
# On istiod's secure port each namespace's stream shows a certificate of one of its workloads, which istiod signs on the word of weft's token. An
# Envoy terminates TLS before the stand-in for istiod, as it can ask for a client certificate without insisting on one.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

python=$build/xds-venv/bin/python

istiod_up() {
	local envoy upstream file
	envoy=$(python3 "$repository/tests/topology/envoy.py" find --install --build "$build") || exit 1
	file=$(weft_state)/istiod.port
	ca=$(weft_state)/ca
	read -r port upstream <<<"$(free_ports 2)"
	"$python" "$repository/tests/xds/istiod.py" envoy "$ca" "$port" "$upstream" || exit 1
	"$python" "$repository/tests/xds/istiod.py" --config "$config" --port-file "$file" --log "$(weft_state)/istiod.log" --port "$upstream" --ca "$ca" \
		>>"$(weft_state)/istiod.err" 2>&1 &
	"$envoy" -c "$ca/envoy.json" --concurrency 1 --disable-hot-restart --log-level error >>"$(weft_state)/envoy.log" 2>&1 &
	wait_until 30 test -s "$file" || { cat "$(weft_state)/istiod.err"; exit 1; }
	wait_until 30 listens "$port" || { cat "$(weft_state)/envoy.log"; exit 1; }
}

listens() {
	[ -n "$(ss -Hltn "sport = :$1")" ]
}

# connection_is NAMESPACE OPEN
connection_is() {
	[ "$(weft_control status -o json | jq -r ".scopes[] | select(.scope == \"$1\") | .connection.is_open")" = "$2" ]
}

error_says() {
	weft_control status -o json | jq -r '.scopes[].connection.last_error' | grep -qF "$1"
}

answer_is() {
	[ "$(who 'http://pool:8000/[1-24]' | sort -u | xargs)" = "$1" ]
}

said() {
	grep -cE "$1" "$(weft_state)/istiod.log"
}

begin
istiod_up
python3 - "$config" >"$(weft_state)/pods.yaml" <<'END'
import sys
import yaml
pods = yaml.safe_load(open(sys.argv[1]))["pods"]
for pod in pods:
    if pod["name"] == "reviews-v3":
        pod.update(namespace="shop", service_account="reviews")
yaml.safe_dump({"pods": pods}, sys.stdout)
END
echo bad >"$(weft_state)/token"
weft_start "$(weft_state)/pods.yaml" --xds "grpcs://127.0.0.1:$port" --xds-root-cert "$ca/root.pem" --xds-token "$(weft_state)/token" --xds-cache "" || exit 1

check "a token that istiod does not take is told, with what to set" wait_until 30 error_says CA_TRUSTED_NODE_ACCOUNTS
check "in the words of istiod" error_says 'request authenticate failure'
equal "no stream was tried without a certificate" 0 "$(said 'stream REFUSED')"

echo good >"$(weft_state)/token"
check "the rotated token is taken" wait_until 30 answer_is 'v1 v2 v3'
check "the stream of one namespace is open" wait_until 30 connection_is default true
check "and that of the other" wait_until 30 connection_is shop true
equal "a certificate was signed for a workload of the one" 1 "$(said '^certificate SIGNED spiffe://cluster.local/ns/default/sa/default$')"
equal "and one for the other's" 1 "$(said '^certificate SIGNED spiffe://cluster.local/ns/shop/sa/reviews$')"
check "each stream is of its own namespace" test "$(said '^CDS ACK .*~reviews-v3\.shop~')" -gt 0
equal "none was refused" 0 "$(said 'stream REFUSED')"
equal "no secret is in the log" 0 "$(grep -c 'Bearer\|PRIVATE KEY' "$(weft_state)/weft.log")"

printf 'this is no protobuf' >"$(weft_state)/FAULT"
check "bytes that are no response end the stream" wait_until 30 grep -q 'are no DiscoveryResponse' "$(weft_state)/weft.log"
check "which begins anew" wait_until 30 connection_is default true
check "and what served serves" answer_is 'v1 v2 v3'
check "weftd ends cleanly" weft_stop
