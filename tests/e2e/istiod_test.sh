#!/usr/bin/env bash
# Fed by istiod: what it pushes serves, an endpoint that a push takes away gets no request after the push was acknowledged and costs none, and
# nothing fails while istiod is gone, nor at a start without it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=endpoints.sh
. "$(dirname "$0")/endpoints.sh"

python=$build/xds-venv/bin/python
istiod_pid=

# The pods of the configuration; istiod has the resources.
pods_only() {
	python3 -c 'import sys, yaml; yaml.safe_dump({"pods": yaml.safe_load(open(sys.argv[1]))["pods"]}, sys.stdout)' "$config" >"$(weft_state)/pods.yaml"
}

# istiod_start [PORT]: a stand-in with the resources in $config; its port is in $port then
istiod_start() {
	local file
	file=$(weft_state)/istiod.port
	rm -f "$file"
	"$python" "$repository/tests/xds/istiod.py" --config "$config" --port-file "$file" --log "$(weft_state)/istiod.log" --port "${1:-0}" \
		>>"$(weft_state)/istiod.err" 2>&1 &
	istiod_pid=$!
	wait_until 30 test -s "$file" || { cat "$(weft_state)/istiod.err"; exit 1; }
	port=$(cat "$file")
}

istiod_kill() {
	kill -9 "$istiod_pid"
	wait "$istiod_pid" 2>/dev/null
	return 0
}

said() {
	grep -cE "$1" "$(weft_state)/istiod.log"
}

# acknowledged TYPE COUNT: more pushes of it than that were
acknowledged() {
	[ "$(said "^$1 ACK")" -gt "$2" ]
}

requests_reach() {
	who 'http://pool:8000/[1-90]' | grep -c "^$1\$"
}

connection() {
	weft_control status -o json | jq -r ".scopes[0].connection.$1"
}

connection_is() {
	[ "$(connection is_open)" = "$1" ]
}

weft_from() {
	weft_start "$(weft_state)/pods.yaml" --xds "$1" --xds-cache "$(weft_state)/cache" "${@:2}"
}

begin
pods_only
istiod_start
weft_from "grpc://127.0.0.1:$port" || exit 1

check "what istiod pushes serves" wait_until 30 answer_is 'v1 v2 v3'
check "the stream is open" connection_is true
equal "it is that of the pods' namespace" default "$(weft_control status -o json | jq -r '.scopes[0].scope')"
like "a pod of it stands for it" '^sidecar~.*~cli\.default~default\.svc\.cluster\.local$' "$(awk '$2 == "ACK" { print $4; exit }' "$(weft_state)/istiod.log")"
like "and shown to people" 'Streams from grpc://127.*default +open' "$(weft_control status | tr '\n' ' ')"
get 'http://pool:8000/[1-20]' >/dev/null
between "the kernel carries requests" 1 1000000 "$(($(path_count bypass) + $(path_count remote)))"

load 10 16 http://10.96.0.21:8000/100B >"$(weft_state)/load.json" &
wrk=$!
sleep 1
acks=$(said '^EDS ACK')
endpoints v1 v3
check "a push of endpoints is acknowledged" wait_until 30 acknowledged EDS "$acks"
equal "from then on the endpoint that it took away gets nothing" 0 "$(requests_reach v2)"
in_pod v2 sh -c "kill -QUIT \$(cat $(weft_state)/v2.nginx.pid)"
check "with its server gone the others answer" answer_is 'v1 v3'

istiod_kill
check "that istiod is gone is seen" wait_until 30 connection_is false
check "and nothing changes" answer_is 'v1 v3'
like "status has the reason" 'connection' "$(connection last_error)"
endpoints v1
istiod_start "$port"
check "istiod is back and what changed meanwhile serves" wait_until 30 answer_is 'v1'
check "on a new stream" connection_is true
wait "$wrk"
report=$(cat "$(weft_state)/load.json")
equal "no error in $(requests_of "$report") requests meanwhile" 0 "$(errors_of "$report")"

kill -9 "$(status_of .worker.pid)"
check "a worker that is killed is followed by one that opens the stream again" wait_until 30 connection_is true
check "with what served before" wait_until 30 answer_is 'v1'
equal "and leaves no connection behind" 1 "$(ss -Htn state established "dport = :$port" | wc -l)"

nacks=$(said '^RDS NACK')
edit_config "resource('RouteConfiguration', '8000')['virtual_hosts'].append({'name': 'again', 'domains': ['pool'], 'routes': [{'match': {'prefix': '/'}, 'direct_response': {'status': 200}}]})"
check "a route configuration that Envoy would refuse is refused" wait_until 30 eval "[ \"\$(said '^RDS NACK')\" -gt $nacks ]"
like "and named" 'NACK .*8000' "$(grep '^RDS NACK' "$(weft_state)/istiod.log" | tail -n 1)"
check "the last good one serves" answer_is 'v1'
edit_config "resource('RouteConfiguration', '8000')['virtual_hosts'].pop()"

check "weftd ends cleanly" weft_stop
istiod_kill
weft_from "grpc://127.0.0.1:$port" || exit 1
check "without istiod, a start serves what came last, from its first moment" answer_is 'v1'
check "weftd ends cleanly, on a stream that never opened" weft_stop

endpoints v1 v3
edit_config "
cluster = resource('Cluster', 'outbound|8000||pool.default.svc.cluster.local')
sockets = 'type.googleapis.com/envoy.extensions.transport_sockets.'
cluster['transport_socket_matches'] = [
    {'name': 'tlsMode-istio', 'match': {'tlsMode': 'istio'}, 'transport_socket': {'name': 'envoy.transport_sockets.tls',
        'typed_config': {'@type': sockets + 'tls.v3.UpstreamTlsContext', 'sni': 'outbound_.8000_._.pool.default.svc.cluster.local'}}},
    {'name': 'tlsMode-disabled', 'match': {}, 'transport_socket': {'name': 'envoy.transport_sockets.raw_buffer',
        'typed_config': {'@type': sockets + 'raw_buffer.v3.RawBuffer'}}}]
for endpoint in resource('ClusterLoadAssignment', cluster['name'])['endpoints'][0]['lb_endpoints']:
    endpoint['metadata'] = {'filter_metadata': {'envoy.transport_socket_match': {'tlsMode': 'istio'}}}"
istiod_start
weft_from "grpc://127.0.0.1:$port" || exit 1
check "endpoints that could speak mutual TLS are reached in plaintext" wait_until 30 answer_is 'v1 v3'
equal "and counted" 2 "$(status_of .plaintext.endpoints_that_could_take_mtls)"
check "weftd ends cleanly" weft_stop
weft_from "grpc://127.0.0.1:$port" --require-mtls || exit 1
check "and refused with --require-mtls" wait_until 30 eval '[ "$(status_code http://pool:8000/)" = 503 ]'
check "others are not" eval '[ "$(status_code http://script:8000/)" != 503 ]'
check "weftd ends cleanly" weft_stop

"$build/weftd" --config "$(weft_state)/pods.yaml" --xds istiod:15010 2>"$(weft_state)/bad" && failed "a bad address is refused"
like "a bad address is refused with the reason" 'it must begin with grpc://' "$(cat "$(weft_state)/bad")"
istiod_kill
