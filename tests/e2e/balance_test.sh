#!/usr/bin/env bash
# Which endpoint of a cluster gets a request: by weight, locality and hash. What the kernel and the proxy choose by hash is the same.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Virtual hosts rr, least, zones, ring and maglev on port 8000, each a cluster of its own over v1, v2 and v3.
add_clusters() {
	edit_config "
ips = '$(topology show ip v1) $(topology show ip v2) $(topology show ip v3)'.split()
def endpoint(i, weight=1):
    return {'endpoint': {'address': {'socket_address': {'address': ips[i], 'port_value': 80}}}, 'load_balancing_weight': weight}
def cluster(name, localities, **more):
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': name, 'type': 'STATIC',
                           'load_assignment': {'cluster_name': name, 'endpoints': localities}, **more})
one = [{'lb_endpoints': [endpoint(0), endpoint(1), endpoint(2)]}]
heavy = [{'lb_endpoints': [endpoint(0, 1), endpoint(1, 2), endpoint(2, 5)]}]
cluster('rr', heavy)
cluster('least', heavy, lb_policy='LEAST_REQUEST')
cluster('zones', [{'locality': {'zone': str(i)}, 'load_balancing_weight': w, 'lb_endpoints': [endpoint(i)]} for i, w in enumerate([70, 20, 10])],
        lb_policy='LEAST_REQUEST', common_lb_config={'locality_weighted_lb_config': {}})
cluster('ring', one, lb_policy='RING_HASH')
cluster('maglev', one, lb_policy='MAGLEV')
hosts = resource('RouteConfiguration', '8000')['virtual_hosts']
for name in 'rr', 'least', 'zones':
    hosts.append({'name': name, 'domains': [name], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': name}}]})
policies = [('/header', [{'header': {'header_name': 'x-user'}}]), ('/query', [{'query_parameter': {'name': 'user'}}]),
            ('/source', [{'connection_properties': {'source_ip': True}}]), ('/cookie', [{'cookie': {'name': 'sid', 'ttl': '60s', 'path': '/'}}]),
            ('/two', [{'header': {'header_name': 'x-user'}, 'terminal': True}, {'query_parameter': {'name': 'user'}}])]
for name in 'ring', 'maglev':
    hosts.append({'name': name, 'domains': [name], 'routes': [{'match': {'prefix': path}, 'route': {'cluster': name, 'hash_policy': p}} for path, p in policies]})
" || exit 1
}

# shares HOST COUNT: how many of so many requests v1, v2 and v3 got
shares() {
	who -H "Host: $1" "http://pool:8000/[1-$2]" | sort | uniq -c | awk '{ n[$2] = $1 } END { print n["v1"] + 0, n["v2"] + 0, n["v3"] + 0 }'
}

by_weight() {
	local v1 v2 v3
	read -r v1 v2 v3 < <(shares rr 400)
	between "$1: round robin by weight, 1 of 8 ($v1 $v2 $v3)" 49 51 "$v1"
	between "$1: 5 of 8" 249 251 "$v3"
	read -r v1 v2 v3 < <(shares least 800)
	between "$1: least request by weight, 1 of 8 ($v1 $v2 $v3)" 60 145 "$v1"
	between "$1: 5 of 8" 440 560 "$v3"
	read -r v1 v2 v3 < <(shares zones 800)
	between "$1: 70 % for the first locality ($v1 $v2 $v3)" 500 620 "$v1"
	between "$1: 10 % for the last" 45 120 "$v3"
}

# choices HOST: who serves each of 24 users, by header, then by query, then by both
choices() {
	local user
	for user in {a..h}{1..3}; do
		printf '%s ' "$(who -H "Host: $1" -H "x-user: $user" http://pool:8000/header)"
	done
	who -H "Host: $1" "http://pool:8000/query?user={a,b,c,d,e,f,g,h}[1-3]" | xargs
	who -H "Host: $1" -H 'x-user: a1' "http://pool:8000/two?user={a,b,c,d}[1-2]" | xargs
}

by_hash() {
	local host found server cookie
	for host in ring maglev; do
		found=$(choices "$host" | xargs)
		equal "$1: $host: users are served by all three" 'v1 v2 v3' "$(tr ' ' '\n' <<<"$found" | sort -u | xargs)"
		equal "$1: $host: by header and by query parameter alike" "$(cut -d ' ' -f 1-24 <<<"$found")" "$(cut -d ' ' -f 25-48 <<<"$found")"
		equal "$1: $host: what follows a terminal policy does not count" 1 "$(cut -d ' ' -f 49-56 <<<"$found" | tr ' ' '\n' | sort -u | wc -l)"
		equal "$1: $host: the same as ever" "${chosen[$host]:=$found}" "$found"
		equal "$1: $host: a client is served by one" 1 "$(who -H "Host: $host" 'http://pool:8000/source/[1-20]' | sort -u | wc -l)"
		found=$(tell '%header{x-served-by} %header{set-cookie}' -H "Host: $host" http://pool:8000/cookie)
		like "$1: $host: a cookie is made" '^v[123] sid="[0-9a-f]{16}"; Max-Age=60; Path=/; HttpOnly$' "$found"
		server=${found%% *} cookie=${found#* }
		equal "$1: $host: and leads back" "$server 10" "$(who -H "Host: $host" -H "Cookie: ${cookie%%;*}" 'http://pool:8000/cookie/[1-10]' | uniq -c | awk '{ print $2, $1 }')"
	done
}

declare -A chosen
begin
add_clusters
for mode in on off; do
	weft_start "$config" --fast-path "$mode" || exit 1
	by_weight "$mode"
	carried=$(path_count bypass)
	by_hash "$mode"
	if [ "$mode" = on ]; then
		between 'on: hashed by the kernel, but for cookies' 60 400 $(($(path_count bypass) - carried))
		between "on: what the proxy balanced is counted" 10 200 "$(status_of '.slow_reasons.balance_proxy // 0')"
	else
		equal 'off: the kernel carried nothing' 0 "$(path_count bypass)"
	fi
	check "$mode: weftd ends cleanly" weft_stop
done
