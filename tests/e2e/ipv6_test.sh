#!/usr/bin/env bash
# IPv6 as IPv4: dual-stack pods and endpoints, listeners at IPv6 addresses, mapped addresses on IPv6 sockets, and what the application sees of it.
# What holds is said with the kernel's paths and with the proxy alone.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Every service of HTTP has the endpoints "here" (enrolled, IPv6), "dual" (enrolled, a server of both families asked by IPv4) and "there" (not enrolled).
add_resources() {
	edit_config "
six = dict(zip(('cli', 'v1', 'v2', 'v3', 'ratings'), '$(for pod in cli v1 v2 v3 ratings; do topology show ip6 $pod; done | xargs)'.split()))
four = dict(zip(('cli', 'v1', 'v2', 'v3', 'ratings'), '$(for pod in cli v1 v2 v3 ratings; do topology show ip $pod; done | xargs)'.split()))
for pod in c['pods']:
    pod['additional_ips'] = [six[pod['name'].removeprefix('reviews-')]]
for pod in c['pods']:
    if pod['name'] == 'reviews-v3':
        pod['ip'], pod['additional_ips'] = six['v3'], []
hcm = resource('Listener', '0.0.0.0_8000')
def filters(chains):
    return [dict(chain) for chain in chains]
def cluster(name, address, port, **more):
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': name, 'type': 'STATIC', 'connect_timeout': '2s',
        'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': [{'endpoint': {'address': {'socket_address': {'address': address, 'port_value': port}}},
                          'metadata': {'filter_metadata': {'istio': {'workload': name + ';default;;;'}}}}]}]}, **more})
def tcp(name, **match):
    return {'filter_chain_match': match, 'filters': [{'name': 'tcp', 'typed_config': {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', 'stat_prefix': 't', 'cluster': name}}]}
def listener(name, address, port, *chains, **more):
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.listener.v3.Listener', 'name': name, 'traffic_direction': 'OUTBOUND',
                           'address': {'socket_address': {'address': address, 'port_value': port}}, 'filter_chains': list(chains), **more})
hcm['additional_addresses'] = [{'address': {'socket_address': {'address': '::', 'port_value': 8000}}}]
cluster('here', six['v1'], 8080)
cluster('there', six['ratings'], 8080)
cluster('dual', four['v2'], 7080)
cluster('dual6', six['v2'], 7080)
cluster('tcp6', six['v2'], 7080)
cluster('tcp4', four['v2'], 7080)
resource('RouteConfiguration', '8000')['virtual_hosts'][0:0] = [
    {'name': 'literal', 'domains': ['[fd00:96::20]'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'here'}}]},
] + [{'name': n, 'domains': [n], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': n}}]} for n in ('here', 'there', 'dual', 'dual6')]
listener('tcp6', 'fd00:96::30', 9000, tcp('tcp6'))
listener('tcp4', 'fd00:96::31', 9000, tcp('tcp4'))
listener('ranges', '::', 9001, tcp('tcp6', prefix_ranges=[{'address_prefix': 'fd00:96::100', 'prefix_len': 120}]),
         tcp('there', prefix_ranges=[{'address_prefix': '10.0.0.0', 'prefix_len': 8}]), default_filter_chain=tcp('here'))
" || exit 1
}

six() {
	in_pod cli "$here/ipv6.py" get "$@"
}

counted() {
	status_of ".kernel.$1 // 0"
}

carried() {
	path_count "$1"
}

own6=
own4=

http() {
	local mode=$1 before
	equal "$mode: an IPv6 endpoint on this node" "200 v1 GET here / end-user= peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host here)"
	equal "$mode: one elsewhere" "200 ratings GET there / end-user= peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host there)"
	equal "$mode: a literal host with a port" "200 v1 GET [fd00:96::20]:8000 / end-user= peer fd00:96::20 8000 own $own6" \
		"$(six fd00:96::20 8000 --host '[fd00:96::20]:8000')"
	equal "$mode: the server sees the pod's own IPv6 address" "200 v2 from $own6 peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host dual6)"
	equal "$mode: an IPv4 endpoint for an IPv6 client" "200 v2 from ::ffff:$own4 peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host dual)"
	equal "$mode: an IPv6 endpoint for an IPv4 client" "v1 GET here / end-user=" "$(get -H 'Host: here' http://10.96.0.20:8000/)"
	equal "$mode: a mapped address is the IPv4 one" "200 v2 from ::ffff:$own4 peer ::ffff:10.96.0.20 8000 own ::ffff:$own4" \
		"$(six ::ffff:10.96.0.20 8000 --host dual)"
	equal "$mode: a client bound to its address" "200 v1 GET here / end-user= peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host here --bind "$own6")"
	equal "$mode: a socket for IPv6 only" "200 v1 GET here / end-user= peer fd00:96::20 8000 own $own6" "$(six fd00:96::20 8000 --host here --only)"
	equal "$mode: ... reaches no mapped address, as without a mesh" ENETUNREACH "$(six ::ffff:10.96.0.20 8000 --host here --only)"
	equal "$mode: an unknown host is 404" 404 "$(status_code -g -H 'Host: nobody.test' 'http://[fd00:96::20]:8000/')"
	equal "$mode: one megabyte" 1048576 "$(tell '%{size_download}' -g -H 'Host: here' 'http://[fd00:96::20]:8000/1MB')"
	equal "$mode: 64 megabytes" 67108864 "$(tell '%{size_download}' -g -H 'Host: here' 'http://[fd00:96::20]:8000/64MB')"
	equal "$mode: a body of one megabyte" 'v1 POST 1048576' "$(head -c 1048576 /dev/zero | get -g -H 'Host: here' --data-binary @- 'http://[fd00:96::20]:8000/post')"
	before=$(counted connects_left_alone)
	equal "$mode: its own address is nobody's business" ECONNREFUSED "$(six "$own6" 8000)"
	equal "$mode: nor is the loopback" ECONNREFUSED "$(six ::1 8000)"
	equal "$mode: nor a mapped loopback" ECONNREFUSED "$(six ::ffff:127.0.0.1 8000)"
	equal "$mode: they are counted" 3 "$(($(counted connects_left_alone) - before))"
	equal "$mode: what no listener has is left alone" ENETUNREACH "$(six fd00:96::99 8111 | sed 's/EHOSTUNREACH/ENETUNREACH/;s/EACCES/ENETUNREACH/')"
}

plain() {
	local mode=$1
	equal "$mode: TCP to an endpoint of the same family" "200 v2 from $own6 peer fd00:96::30 9000 own $own6" "$(six fd00:96::30 9000)"
	equal "$mode: TCP to one of the other family" "200 v2 from ::ffff:$own4 peer fd00:96::31 9000 own $own6" "$(six fd00:96::31 9000)"
	equal "$mode: by a range of destinations" "200 v2 from $own6 peer fd00:96::155 9001 own $own6" "$(six fd00:96::155 9001)"
	equal "$mode: by no range" "200 v1 GET x / end-user= peer fd00:96::200 9001 own $own6" "$(six fd00:96::200 9001 --host x)"
}

families() {
	local mode=$1 before
	equal "$mode: a pod of IPv6 alone" "v1 GET here / end-user=" "$(in_pod v3 curl -s -g -m 10 -H 'Host: here' 'http://[fd00:96::20]:8000/')"
	before=$(counted connects_of_unknown_family)
	in_pod v3 curl -s -m 2 -o /dev/null http://10.96.0.20:8000/
	equal "$mode: what it asks of IPv4 is left alone and counted" 1 "$(($(counted connects_of_unknown_family) - before))"
}

# is_carried ADDRESS HOST PATH: of ten requests eight at least go that way; on a busy machine some may find a server that has not read the one before
is_carried() {
	local before
	before=$(carried "$3")
	for _ in 1 2 3 4 5; do six "$1" 8000 --host "$2" >/dev/null; done
	[ $(($(carried "$3") - before)) -ge 8 ]
}

# requests_of_workloads SOURCE DESTINATION: what the metrics count between them
requests_of_workloads() {
	curl --silent --max-time 5 "http://127.0.0.1:$metrics_port/metrics" |
		awk -v from="source_workload=\"$1\"" -v to="destination_workload=\"$2\"" '/^istio_requests_total{/ && index($0, from) && index($0, to) { sum += $NF } END { print sum + 0 }'
}

# Whoever asks, whoever answers, each of either family: the labels come from the pod and from the endpoint's address.
workloads() {
	local mode=$1 pod to before
	for pod in cli reviews-v3; do
		for to in here dual6 dual; do
			before=$(requests_of_workloads "$pod" "$to")
			in_pod "${pod#reviews-}" "$here/ipv6.py" get fd00:96::20 8000 --host "$to" >"$(weft_state)/answer"
			# An exchange of the proxy's is counted after the client has its answer.
			wait_until 30 eval '[ "$(requests_of_workloads "$pod" "$to")" -ge $((before + 2)) ]'
			equal "$mode: metrics count what $pod asks of $to" 2 $(($(requests_of_workloads "$pod" "$to") - before))
		done
	done
}

connections_of() {
	status_of ".pods[] | select(.name == \"$1\") | .connections"
}

nothing_is_left() {
	[ "$(connections_of cli)" = 0 ]
}

# A pod's quota counts its connections of both families. Nobody but the mesh answers at that port: what is left alone is refused.
quota() {
	local out end before=$(counted connections_over_quota)
	out=$(weft_state)/held
	wait_until 30 nothing_is_left || failed "connections are over"
	mkfifo "$out.in"
	in_pod cli "$here/ipv6.py" hold 20 8000 "$(topology show ip6 v1)" "::ffff:$(topology show ip v1)" <"$out.in" >"$out" &
	exec {end}>"$out.in"
	wait_until 30 test -s "$out"
	equal "quota: 16 of 20 connections find a place" "16 16 4" "$(<"$out") $(connections_of cli) $(($(counted connections_over_quota) - before))"
	exec {end}>&-
	check "quota: they leave nothing behind" wait_until 30 nothing_is_left
}

metrics_port=$(free_ports 1)
begin --ipv6
add_resources
own6=$(topology show ip6 cli)
own4=$(topology show ip cli)
in_pod v2 "$here/ipv6.py" serve v2 7080 >"$(weft_state)/ipv6.log" 2>&1 </dev/null &
wait_until 30 in_pod v2 bash -c ': </dev/tcp/127.0.0.1/7080' || exit 1

weft_start "$config" --fast-path on --metrics-address "127.0.0.1:$metrics_port" || exit 1
http on
http on >/dev/null # pools are filled
for each in here:bypass there:remote dual:bypass dual6:bypass; do
	check "on: the kernel carries requests for ${each%:*} by ${each#*:}" wait_until 30 is_carried fd00:96::20 "${each%:*}" "${each#*:}"
done
check "on: ... of clients that ask for mapped addresses too" wait_until 30 is_carried ::ffff:10.96.0.20 dual bypass
before=$(counted connects_sent_to_endpoints)
plain on
equal "on: connect() was sent to endpoints of its own family" 3 $(($(counted connects_sent_to_endpoints) - before))
families on
workloads on
load=$(load 2 16 'http://[fd00:96::20]:8000/100B' -H 'Host: here')
equal "on: no error under load" 0 "$(errors_of "$load")"
weft_stop

weft_start "$config" --fast-path off --metrics-address "127.0.0.1:$metrics_port" --limit pod-connections=16 || exit 1
http off
plain off
families off
workloads off
quota
weft_stop
