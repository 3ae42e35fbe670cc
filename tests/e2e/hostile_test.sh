#!/usr/bin/env bash
# A pod that means harm takes nothing from another one: not by connections without number, not by stalling them all, not by addresses that it does not have.
# Takes a minute
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

hostile() {
	in_pod cli2 python3 "$here/hostile.py" "$@"
}

# holds WORDS...: hostile.py in the background until release; its line is in $line
holds=()
number=0
hold() {
	local out
	number=$((number + 1))
	out=$(weft_state)/hostile.$number
	mkfifo "$out.in"
	hostile "$@" <"$out.in" >"$out" 2>&1 &
	exec {end}>"$out.in"
	holds+=("$end")
	wait_until 120 test -s "$out"
	line=$(<"$out")
}

release() {
	local end
	for end in "${holds[@]}"; do exec {end}>&-; done
	holds=()
}

# Of the pod that means no harm.
victim() {
	report=$(load 3 16 http://10.96.0.11/stable/100B)
}

pod_status() {
	status_of ".pods[] | select(.name == \"cli2\") | $1"
}

kernel() {
	status_of ".kernel.$1"
}

no_connection_is_left() {
	[ "$(pod_status .connections)" = 0 ] && [ "$(status_of .connections)" = 0 ] && [ "$(status_of .proxy.connections)" = 0 ]
}

logged() {
	grep -q -e "$1" "$(weft_state)/weft.log"
}

begin --pods 'cli cli2 v1 v2 v3 ratings'
edit_config "c['pods'].append(dict(c['pods'][0], name='cli2', ip='$(topology show ip cli2)', network_namespace='$(topology show netns cli2)', cgroup='$(topology show cgroup cli2)'))"
in_pod ratings python3 "$here/hostile.py" sink 8000 &
descriptors=$(ulimit -Hn)
share=$((descriptors / 8 < 16384 ? descriptors / 8 : 16384))
count=$((share * 2 < 6000 ? share * 2 : 6000))
weft_start "$config" || exit 1
equal "of $descriptors descriptors a pod's connections may have an eighth" "$share" "$(status_of .limits.pod_connections.value)"
victim
before=$(jq .p50_us <<<"$report")

hold hold $count "$(topology show ip ratings)" 8000
equal "$count connections that say nothing: all find somebody" "connected $count failed 0" "$line"
equal 'the mesh took as many as a pod may have' "$share" "$(pod_status .connections)"
equal 'the others were left alone' $((count - share)) "$(pod_status .connections_left_alone)"
equal 'status counts them under the limit' "$share $((count - share))" "$(status_of '.limits.pod_connections | "\(.used) \(.beyond)"')"
check 'the log names the pod and the option' wait_until 30 logged "cli2 has as many connections as one pod may have: .*--limit pod-connections=N"
equal 'the table of all is not full' 0 "$(kernel connections_map_full)"
victim
equal "beside them another pod has no error in $(requests_of "$report") requests" 0 "$(errors_of "$report")"
echo "        p50 beside idle connections: $(jq -r ".p50_us / $before * 100 | round / 100" <<<"$report") of before"
release
check 'they leave nothing behind' wait_until 30 no_connection_is_left

hold stall $((share / 2)) 10.96.0.11 80 reviews /canary/1MB
equal "$((share / 2)) answers that nobody reads: all came" "answered $((share / 2)) silent 0 failed 0" "$line"
hold stall 500 10.96.0.11 80 reviews /canary/64MB
equal '500 streams that nobody reads: all came' 'answered 500 silent 0 failed 0' "$line"
victim
equal "beside them another pod has no error in $(requests_of "$report") requests" 0 "$(errors_of "$report")"
echo "        p50 beside stalled connections: $(jq -r ".p50_us / $before * 100 | round / 100" <<<"$report") of before"
release
check 'they leave nothing behind' wait_until 30 no_connection_is_left

port=$(pod_status .listener_port) unknown=$(status_of .proxy.connections_unknown)
equal 'who dials the daemon itself is closed' closed:2000 "$(hostile direct 2000 "$port")"
equal 'and counted' 2000 $(($(status_of .proxy.connections_unknown) - unknown))
equal 'requests in the SYN are answered' 200:200 "$(hostile fast_open 100 10.96.0.11 80 reviews /stable/100B)"
equal 'so are those of one source port, each connection cut off by the next' 200:300 "$(hostile reuse 300 10.96.0.11 80 reviews /stable/10KB)"
equal 'loopback tricks get what they get without a mesh, or the mesh' \
	'from_loopback=200 from_127.9.9.9=200 from_own=200 to_own=refused to_127.0.0.2=refused to_0.0.0.0=0' \
	"$(hostile odd 10.96.0.11 80 reviews /stable/100B "$(topology show ip cli2)")"
check 'they leave nothing behind' wait_until 30 no_connection_is_left

# Addresses of others, in a network namespace of its own: as the client whose upstream it pretends to be, and as the server.
in_pod cli wrk -t1 -c8 -d4 http://10.96.0.11/stable/100B >"$(weft_state)/forged.load" &
load_pid=$!
sleep 0.5
mapfile -t sources < <(nsenter --net="$(topology show netns cli)" ss -Htn state established "dport = :8080 and dst $(topology show ip v1)" | awk '{sub(/.*:/, "", $3); print $3}')
between 'there are upstreams to forge' 1 200 "${#sources[@]}"
forged=$(kernel servers_forged) foreign=$(kernel connects_from_another_netns)
hold_forged() {
	in_pod cli2 unshare --net sh -c 'ip link set lo up && ip addr add "$1/32" dev lo && ip addr add "$2/32" dev lo && shift 2 && exec "$@"' sh \
		"$(topology show ip cli)" "$(topology show ip v1)" python3 "$here/hostile.py" forge "$(topology show ip cli)" "$(topology show ip v1)" 8080 "${sources[@]}" </dev/null
}
equal 'connections between forged addresses are made' "connected:${#sources[@]}" "$(hold_forged)"
between 'those that are what the kernel lends are seen to be forged' 1 "${#sources[@]}" $(($(kernel servers_forged) - forged))
equal 'none of them becomes a client' "${#sources[@]}" $(($(kernel connects_from_another_netns) - foreign))
wait "$load_pid"
like 'meanwhile every request is answered' 'Requests/sec' "$(<"$(weft_state)/forged.load")"
equal 'and by whom it was for' 0 "$(grep -c -e 'Socket errors' -e 'Non-2xx' "$(weft_state)/forged.load")"
equal 'nobody heard what was forged' v1 "$(who http://reviews/stable/1)"

check 'they leave nothing behind' wait_until 30 no_connection_is_left
equal 'no worker died' 0 "$(status_of .worker.restarts)"
check 'weftd ends cleanly' weft_stop
