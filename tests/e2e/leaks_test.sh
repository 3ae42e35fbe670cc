#!/usr/bin/env bash
# 10,000 connections of every kind, ended in every way, leave nothing behind: no socket, descriptor, map entry or memory, in daemon and kernel.
#
# Runs alone: it counts what the whole kernel holds.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../topology/held.sh
. "$here/../topology/held.sh"

warm_up=1500
count=10000

connections() {
	local said
	said=$(in_pod cli python3 "$here/connections.py" "$1" "$(topology show ip v1)")
	echo "        $said"
	equal "$1 connections: those that end well got their answers" 0 "$(jq .wrong <<<"$said")"
}

begin
weft_start "$config" || exit 1
connections $warm_up
check 'all warm-up connections end' wait_until 30 nothing_is_captured
descriptors_before=$(descriptors)
resident_before=$(resident_kb)
slab_before=$(slab_objects)

connections $count
check 'all connections end' wait_until 30 nothing_is_captured
sleep 1 # closed slots rest for a moment
for map in connections connection_ports client_sockets; do
	equal "map $map: no entry is left" 0 "$(entries $map)"
done
pooled=$(pooled)
for map in dialled upstream_slots upstream_sockets; do
	equal "map $map: one entry for each pooled upstream" "$pooled" "$(entries $map)"
done
between 'map server_sockets: none but the other ends of pooled upstreams' 0 "$pooled" "$(entries server_sockets)"
between "descriptors of the worker but those of upstreams (before: $descriptors_before)" 0 $((descriptors_before + 4)) "$(descriptors)"
between 'sockets in the client pod: those of upstreams' 0 $((pooled + $(status_of .proxy.upstreams))) "$(open_sockets cli)"
equal 'buffers of the proxy' 0 "$(status_of .memory.proxy_buffers_bytes)"
between "memory of the worker, KB (before: $resident_before)" 0 $((resident_before + 2048)) "$(resident_kb)"
# Beside other work on the machine this is rough; what leaked would be thousands of each.
check "kernel objects of sockets (before: $slab_before, now: $(slab_objects))" wait_until 30 slab_is_below $((slab_before + count / 5))
equal 'no worker died' 0 "$(status_of .worker.restarts)"
check 'weftd ends cleanly' weft_stop
