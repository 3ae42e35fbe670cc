#!/usr/bin/env bash
# What an idle captured connection costs, beside its two sockets: memory of the daemon, and of the maps.
#   sudo [BUILD=build] bench/idle/idle.sh COUNT
# Half of COUNT come after the first half, so that what is made once does not count: the difference of the two is divided by it. Connections need a descriptor of the
# client and one of the worker each; clients are as many processes as that takes, the worker is one.
set -euo pipefail

count=${1:?how many connections}
prefix=weft-idle
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../../tests/topology/weft.sh
. "$here/../../tests/topology/weft.sh"
# shellcheck source=../../tests/topology/held.sh
. "$here/../../tests/topology/held.sh"
descriptors=$(ulimit -Hn)
ulimit -Sn "$descriptors"
most=$((descriptors - 1000))

if [ "$count" -gt "$most" ]; then
	echo "a process may open $descriptors descriptors here: measuring with $most connections instead of $count"
	count=$most
fi

ends=()
finish() {
	local end
	for end in "${ends[@]}"; do exec {end}>&-; done
	[ -z "$weft_pid" ] || { kill "$weft_pid" && wait "$weft_pid"; } 2>/dev/null || true
	topology down
}

# open_more COUNT: so many connections of the client pod, in processes of at most 15,000
open_more() {
	local left=$1 part out tries
	while [ "$left" -gt 0 ]; do
		part=$((left < 15000 ? left : 15000))
		left=$((left - part))
		out=$(weft_state)/client.${#ends[@]}
		mkfifo "$out.in"
		in_pod cli "$here/client.py" "$part" 10.96.0.11 80 reviews /healthz <"$out.in" >"$out" &
		exec {end}>"$out.in"
		ends+=("$end")
		for tries in $(seq 1200); do
			[ ! -s "$out" ] || break
			sleep 0.1
		done
		[ -s "$out" ] || { echo "the clients are not done after $((tries / 10)) s" >&2; exit 1; }
	done
	sleep 3
}

# Anonymous memory, and the pages of the table of descriptors that are in use.
daemon_kb() {
	awk '/^(RssAnon|RssShmem):/ {n += $2} END {print n}' "/proc/$(status_of .worker.pid)/status"
}

# What the kernel charges for the maps whose entries come and go, and what of the others is a connection's.
growing_bytes() {
	local map
	for map in client_sockets sockets; do
		bpftool -j map show pinned "$(weft_pin "$map")" | jq '.bytes_memlock'
	done | awk '{n += $1} END {print n}'
}

fixed_bytes() {
	local map
	for map in connections connection_ports; do
		bpftool -j map show pinned "$(weft_pin "$map")" | jq '.bytes_memlock / .max_entries'
	done | awk '{n += $1} END {printf "%.0f\n", n}'
}

slab_kb() {
	awk '/^Slab:/ {print $2}' /proc/meminfo
}

trap finish EXIT
topology up --subnet 10.52.0
topology render "$repository/demo/weft.yaml.in" >"$(weft_state)/weft.yaml"
weft_start "$(weft_state)/weft.yaml" --limit "pod-connections=65536"

first=$((count / 2))
second=$((count - first))
open_more "$first"
[ "$(status_of .connections)" = "$first" ] || { echo "captured $(status_of .connections) of $first" >&2; exit 1; }
daemon=$(daemon_kb) growing=$(growing_bytes) slab=$(slab_kb)
open_more "$second"
[ "$(status_of .connections)" = "$count" ] || { echo "captured $(status_of .connections) of $count" >&2; exit 1; }
daemon_each=$((($(daemon_kb) - daemon) * 1024 / second))
map_each=$((($(growing_bytes) - growing) / second + $(fixed_bytes)))
slab_each=$((($(slab_kb) - slab) * 1024 / second))
printf '%d idle captured connections, each of the last %d:\n  daemon %d bytes (bar: 2048)\n  maps   %d bytes (bar: 4096)\n  kernel %d bytes of slab in all, with the sockets of client and worker and the client'"'"'s socket storage\n' \
	"$count" "$second" "$daemon_each" "$map_each" "$slab_each"
[ "$daemon_each" -le 2048 ] && [ "$map_each" -le 4096 ]
