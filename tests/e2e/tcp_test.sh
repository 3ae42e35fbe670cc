#!/usr/bin/env bash
# Connections that are not HTTP: which endpoint they get by weight, load, destination and server name, what the application sees of it, and
# that the kernel sends connect() there by itself where nothing has to be looked at.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

add_listeners() {
	edit_config "
ips = dict(zip(('v1', 'v2', 'v3'), '$(topology show ip v1) $(topology show ip v2) $(topology show ip v3)'.split()))
filters = 'type.googleapis.com/envoy.extensions.filters.'
def cluster(name, *endpoints, **more):
    lb = [{'endpoint': {'address': {'socket_address': {'address': ips[pod], 'port_value': port}}}} for pod, port in endpoints]
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': name, 'type': 'EDS', 'connect_timeout': '2s',
                           'eds_cluster_config': {'service_name': name, 'eds_config': {'ads': {}, 'resource_api_version': 'V3'}}, **more})
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment', 'cluster_name': name,
                           'endpoints': [{'lb_endpoints': lb}]})
def tcp(*to, **match):
    target = {'cluster': to[0]} if isinstance(to[0], str) else {'weighted_clusters': {'clusters': [{'name': n, 'weight': w} for n, w in to]}}
    return {'filter_chain_match': match, 'filters': [{'name': 'tcp', 'typed_config': {
        '@type': filters + 'network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', **target}}]}
def listener(name, address, port, *chains, **more):
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.listener.v3.Listener', 'name': name, 'traffic_direction': 'OUTBOUND',
                           'address': {'socket_address': {'address': address, 'port_value': port}}, 'filter_chains': list(chains), **more})
for pod in ips:
    cluster(pod, (pod, 7000))
cluster('v1-begins', ('v1', 7001))
cluster('least', ('v1', 7000), ('v2', 7000), lb_policy='LEAST_REQUEST')
cluster('none')
cluster('nobody', ('v1', 9))
listener('weighted', '10.96.0.30', 9000, tcp(('v1', 3), ('v2', 1)))
listener('first', '10.96.0.31', 9000, tcp('v1'))
listener('least', '10.96.0.32', 9000, tcp('least'))
listener('none', '10.96.0.33', 9000, tcp('none'))
listener('nobody', '10.96.0.34', 9000, tcp('nobody'))
listener('exact', '10.96.0.35', 9001, tcp('v2'))
listener('any', '0.0.0.0', 9001, tcp('v1', prefix_ranges=[{'address_prefix': '10.96.1.0', 'prefix_len': 24}]),
         tcp('v2', prefix_ranges=[{'address_prefix': '10.96.0.0', 'prefix_len': 16}]), default_filter_chain=tcp('v3'))
inspect = lambda name, kind: {'name': name, 'typed_config': {'@type': filters + 'listener.' + kind}}
tls, http = inspect('tls', 'tls_inspector.v3.TlsInspector'), inspect('http', 'http_inspector.v3.HttpInspector')
listener('names', '0.0.0.0', 9443, tcp('v1', server_names=['a.test']), tcp('v2', server_names=['*.test']), listener_filters=[tls])
sniffed = resource('Listener', '0.0.0.0_8000')
listener('detected', '0.0.0.0', 9002, sniffed['filter_chains'][0], listener_filters=[http], default_filter_chain=tcp('v1-begins'))
" || exit 1
}

ask() {
	in_pod cli "$here/tcp.py" ask "$@"
}

# times PATTERN: how many of the lines begin with it
times() {
	grep -c "^$1"
}

sent() {
	status_of '.kernel.connects_sent_to_endpoints // 0'
}

accepted() {
	status_of .proxy.connections_accepted
}

what_the_application_sees() {
	equal "$1: the endpoint answers, and the peer is the one that was asked for" \
		"v1 hi peer 10.96.0.31:9000 own $(topology show ip cli)" "$(ask 10.96.0.31 9000 --text hi --peers)"
	if [ "$1" = on ]; then
		equal "$1: an endpoint that refuses refuses" ConnectionRefusedError "$(ask 10.96.0.34 9000 --text hi)"
	else
		like "$1: an endpoint that refuses ends the connection" 'closed|ConnectionResetError' "$(ask 10.96.0.34 9000 --text hi)"
	fi
	like "$1: without an endpoint the connection ends" 'closed|ConnectionResetError' "$(ask 10.96.0.33 9000 --text hi)"
}

by_weight() {
	local found
	found=$(ask 10.96.0.30 9000 --text hi --count 200)
	between "$1: 3 of 4 go to the first cluster" 125 172 "$(times 'v1 hi' <<<"$found")"
	equal "$1: and the rest to the second" 200 "$(times 'v[12] hi' <<<"$found")"
}

by_load() {
	local first
	coproc HELD { in_pod cli "$here/tcp.py" hold 10.96.0.31 9000 40; }
	read -r first <&"${HELD[0]}"
	equal "$1: 40 connections to v1 stay open" held "$first"
	# unless both draws take the busy one: 150, and four standard deviations of 6.1 either way
	between "$1: least request prefers the other" 125 175 "$(ask 10.96.0.32 9000 --text hi --count 200 | times 'v2 hi')"
	exec {HELD[1]}>&-
	wait "$HELD_PID" 2>/dev/null
	between "$1: when they are closed they count no more" 65 135 "$(ask 10.96.0.32 9000 --text hi --count 200 | times 'v2 hi')"
}

by_destination() {
	equal "$1: a listener of the address itself" 'v2 hi' "$(ask 10.96.0.35 9001 --text hi)"
	equal "$1: the narrower range" 'v1 hi' "$(ask 10.96.1.35 9001 --text hi)"
	equal "$1: the wider range" 'v2 hi' "$(ask 10.96.2.35 9001 --text hi)"
	equal "$1: no range" 'v3 hi' "$(ask 10.97.0.1 9001 --text hi)"
}

by_name() {
	equal "$1: TLS to a name" 'v1 tls' "$(ask 10.96.0.40 9443 --sni a.test)"
	equal "$1: TLS to a name of a wildcard" 'v2 tls' "$(ask 10.96.0.40 9443 --sni x.y.test)"
	like "$1: TLS to another name is closed" 'closed|ConnectionResetError' "$(ask 10.96.0.40 9443 --sni other.example)"
	like "$1: what is no TLS is closed" 'closed|ConnectionResetError' "$(ask 10.96.0.40 9443 --text hi)"
}

who_begins() {
	equal "$1: a server that speaks first is heard where HTTP is possible" v1 "$(ask 10.96.0.20 9002)"
	equal "$1: HTTP on the same port is routed" v1 "$(get http://script:9002/hello | cut -d ' ' -f 1)"
	equal "$1: other bytes are not" v1 "$(ask 10.96.0.20 9002 --text "$(printf '\001\002')" | head -n 1)"
	equal "$1: nor is HTTP/1.0, where the chain is for HTTP/1.1" v1 "$(ask 10.96.0.20 9002 --text "$(printf 'GET / HTTP/1.0\r\n\r')" | head -n 1)"
}

# tcp_metric WHAT: istio_tcp_WHAT_total of connections to v1
tcp_metric() {
	curl --silent --max-time 5 "http://127.0.0.1:$metrics_port/metrics" |
		awk -v name="^istio_tcp_$1_total{" '$0 ~ name && /source_workload="cli"/ && /destination_service="v1"/ { sum += $NF } END { printf "%.0f\n", sum }'
}

all_closed() {
	[ "$(tcp_metric connections_closed)" = "$(tcp_metric connections_opened)" ]
}

# What 50 connections add to the metrics: the same whoever carries them.
by_workload() {
	local -a before
	wait_until 30 all_closed || failed "$1: connections are over"
	before=("$(tcp_metric connections_opened)" "$(tcp_metric received_bytes)" "$(tcp_metric sent_bytes)")
	ask 10.96.0.31 9000 --text hello --count 50 >"$(weft_state)/answers"
	wait_until 30 all_closed || failed "$1: connections are over"
	equal "$1: metrics count connections and the bytes of both ways" "50 $((50 * 5)) $(stat -c %s "$(weft_state)/answers")" \
		"$(($(tcp_metric connections_opened) - before[0])) $(($(tcp_metric received_bytes) - before[1])) $(($(tcp_metric sent_bytes) - before[2]))"
}

begin
add_listeners
for pod in v1 v2 v3; do
	in_pod "$pod" "$here/tcp.py" serve "$pod" &
done
wait_until 30 in_pod cli bash -c "for pod in $(topology show ip v1) $(topology show ip v2) $(topology show ip v3); do : </dev/tcp/\$pod/7001 || exit 1; done" || exit 1
for mode in on off; do
	metrics_port=$(free_ports 1)
	weft_start "$config" --fast-path "$mode" --metrics-address "127.0.0.1:$metrics_port" || exit 1
	was_accepted=$(accepted)
	what_the_application_sees "$mode"
	by_weight "$mode"
	by_load "$mode"
	by_destination "$mode"
	if [ "$mode" = on ]; then
		between 'on: the kernel sent them to their endpoints' 646 660 "$(sent)"
		between 'on: the proxy saw only the one without an endpoint' 1 3 $(($(accepted) - was_accepted))
	else
		equal 'off: the kernel sent none' 0 "$(sent)"
	fi
	by_name "$mode"
	who_begins "$mode"
	by_workload "$mode"
	check "$mode: weftd ends cleanly" weft_stop
done
