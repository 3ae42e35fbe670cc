#!/usr/bin/env bash
# Clusters whose endpoints are names: asked of DNS as long as records live, and served from the last good answer when DNS, or the worker, is gone.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

port=5399 records= server=

add_clusters() {
	edit_config "
def cluster(name, kind, *names, **more):
    lb = [{'endpoint': {'address': {'socket_address': {'address': n, 'port_value': 80}}}} for n in names]
    c['resources'].append({'@type': 'type.googleapis.com/envoy.config.cluster.v3.Cluster', 'name': name, 'type': kind, 'connect_timeout': '2s',
                           'respect_dns_ttl': True, 'dns_refresh_rate': '1s', 'load_assignment': {'cluster_name': name, 'endpoints': [{'lb_endpoints': lb}]}, **more})
cluster('strict', 'STRICT_DNS', 'some.test')
cluster('logical', 'LOGICAL_DNS', 'some.test')
cluster('nowhere', 'STRICT_DNS', 'nowhere.test')
for host in resource('RouteConfiguration', '80')['virtual_hosts']:
    if 'reviews' in host['domains']:
        host['routes'][:0] = [{'match': {'prefix': '/' + n + '/'}, 'route': {'cluster': n, 'prefix_rewrite': '/'}} for n in ('strict', 'logical', 'nowhere')]
" || exit 1
}

say() {
	printf '%s\n' "$@" >"$records.new"
	mv "$records.new" "$records"
}

# who_all URL: who answers 40 requests, each named once
who_all() {
	local i
	for i in $(seq 40); do who "$1"; done | sort -u | paste -sd ' '
}

answers() {
	[ "$(who_all "$1")" = "$2" ]
}

is_refused() {
	[ "$(status_code "$1")" = 503 ]
}

begin
add_clusters
records=$(weft_state)/records
v1=$(topology show ip v1) v2=$(topology show ip v2) v3=$(topology show ip v3)
say "some.test 1 $v2 $v1"
echo "nameserver 127.0.0.1:$port
options timeout:1 attempts:1" >"$(weft_state)/resolv.conf"
"$here/dns_server.py" $port "$records" &
server=$!
weft_start "$config" --resolv-conf "$(weft_state)/resolv.conf" || exit 1

check 'every address of the name is an endpoint' wait_until 30 answers http://reviews/strict/100B 'v1 v2'
equal 'a logical host is the first of them' v2 "$(who_all http://reviews/logical/100B)"
equal 'a name that does not exist has none' 503 "$(status_code http://reviews/nowhere/100B)"
equal 'the names are counted' '2 0' "$(status_of '"\(.names.asked) \(.names.without_answer)"')"

say "some.test 1 $v3"
check 'a change is followed when the records end' wait_until 30 answers http://reviews/strict/100B v3
check 'by a logical host too' wait_until 30 answers http://reviews/logical/100B v3

say 'some.test servfail'
sleep 3
equal 'a server that fails changes nothing' v3 "$(who_all http://reviews/strict/100B)"
kill "$server"
wait "$server" 2>/dev/null
sleep 3
equal 'nor one that is gone' v3 "$(who_all http://reviews/strict/100B)"
kill -KILL "$(status_of .worker.pid)"
check 'nor a worker that dies meanwhile' wait_until 30 answers http://reviews/strict/100B v3
check 'for a logical host likewise' wait_until 30 answers http://reviews/logical/100B v3

say "other.test 1 $v1"
"$here/dns_server.py" $port "$records" &
server=$!
check 'that the name is gone is an answer' wait_until 30 is_refused http://reviews/strict/100B
equal 'which a logical host does not believe' v3 "$(who_all http://reviews/logical/100B)"
kill "$server"
check 'weftd ends cleanly' weft_stop
