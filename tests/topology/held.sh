# What weftd and the kernel hold for it: counted before and after a test, to find what leaks. Sourced after weft.sh.
# shellcheck shell=bash

entries() {
	bpftool -j map dump pinned "$(weft_pin "$1")" | jq length
}

# What is open by intent: upstreams of the pool, with their servers, and upstreams of the proxy.
pooled() {
	status_of .limits.upstreams.used
}

descriptors() {
	local worker
	worker=$(status_of .worker.pid)
	echo $(($(find "/proc/$worker/fd" -mindepth 1 -not -lname 'pipe:*' | wc -l) - $(pooled) - $(status_of .proxy.upstreams)))
}

# Ends of pipes: a thread of the proxy keeps some of those that large bodies went through.
pipe_ends() {
	find "/proc/$(status_of .worker.pid)/fd" -mindepth 1 -lname 'pipe:*' | wc -l
}

resident_kb() {
	awk '/^RssAnon:/ {print $2}' "/proc/$(status_of .worker.pid)/status"
}

# Objects of the sizes that the kernel's part of a connection has: psock, socket storage, the socket itself.
slab_objects() {
	awk '$1 == "TCP" || $1 ~ /^kmalloc(-rnd-[0-9]+)?-(1k|2k)$/ {n += $2} END {print n + 0}' /proc/slabinfo
}

slab_is_below() {
	[ "$(slab_objects)" -le "$1" ]
}

# Sockets of this pod that are not closed, by the state they are in; TIME-WAIT is the kernel's own affair.
open_sockets() {
	in_pod "$1" ss -Htan state connected exclude time-wait | wc -l
}

nothing_is_captured() {
	[ "$(status_of '"\(.connections) \(.proxy.connections) \(.upstreams.lent + .upstreams.replying + .upstreams.relayed)"')" = '0 0 0' ]
}
