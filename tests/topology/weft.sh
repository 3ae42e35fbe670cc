# Runs weftd on a topology. Sourced by the e2e tests, the demo and whoever wants a mesh from a script; needs $prefix.
# shellcheck shell=bash

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${BUILD:-build}
[[ $build = /* ]] || build=$repository/$build
weftd=${WEFTD:-$build/weftd}
weftctl=${WEFTCTL:-$build/weftctl}
weft_pid=
weft_former=
# What weft_start waits for. Without `is_loading`: that the proxy serves already.
weft_is_up=${WEFT_IS_UP:-.generation >= 1 and .worker.pid > 0 and (.is_loading | not)}

topology() {
	local command=$1
	shift
	"$repository/tests/topology/topology.sh" "$command" --prefix "$prefix" "$@"
}

# Runs a command in a pod: `in_pod cli curl ...`.
in_pod() {
	local pod=$1
	shift
	topology exec "$pod" -- "$@"
}

weft_state() {
	echo "/run/weft-topology/$prefix"
}

weft_control() {
	"$weftctl" --control "$(weft_state)/weft.sock" "$@"
}

# status_of JQ-FILTER: one value from the daemon's status.
status_of() {
	weft_control status -o json | jq -r "$1"
}

# weft_start CONFIG [options of weftd...]: starts weftd in the topology's own cgroup and waits until it serves, with all programs loaded ($weft_is_up). The log goes to weft.log. CONFIG "": none.
weft_start() {
	local config=$1 state tries
	state=$(weft_state)
	shift
	[ -z "$config" ] || set -- --config "$config" "$@"
	# not through topology(): a function in the background is a shell of its own, and $! must be weftd
	"$repository/tests/topology/topology.sh" exec --prefix "$prefix" daemon -- "$weftd" --control "$state/weft.sock" --bpffs "$state/bpffs/weft" "$@" >>"$state/weft.log" 2>&1 </dev/null &
	weft_pid=$!
	for tries in $(seq 300); do
		if ! kill -0 "$weft_pid" 2>/dev/null; then
			wait "$weft_pid" || true
			echo "weftd ended at once; its last words:" >&2
			tail -n 15 "$state/weft.log" >&2
			weft_pid=
			return 1
		fi
		if [ "$(weft_control status -o json 2>/dev/null | jq "$weft_is_up" 2>/dev/null)" = true ]; then
			return 0
		fi
		sleep 0.05
	done
	echo "weftd does not serve after $((tries / 20)) s; its last words:" >&2
	tail -n 15 "$state/weft.log" >&2
	return 1
}

# weft_replace CONFIG [options of weftd...]: a further weftd takes over from the one that runs; $weft_pid is its process from then on. What it replaced may
# still run: its process is in $weft_former.
weft_replace() {
	local config=$1 state tries worker
	state=$(weft_state)
	shift
	weft_former=$weft_pid
	"$repository/tests/topology/topology.sh" exec --prefix "$prefix" daemon -- "$weftd" --replace --config "$config" --control "$state/weft.sock" --bpffs "$state/bpffs/weft" "$@" >>"$state/weft.log" 2>&1 </dev/null &
	weft_pid=$!
	for tries in $(seq 600); do
		if ! kill -0 "$weft_pid" 2>/dev/null; then
			wait "$weft_pid" || true
			weft_pid=$weft_former
			return 1
		fi
		# The former one's next worker has another process too.
		worker=$(weft_control status -o json 2>/dev/null | jq 'select(.generation >= 1 and (.is_loading | not)).worker.pid' 2>/dev/null)
		if [ -n "$worker" ] && grep -qsx "PPid:[[:space:]]*$weft_pid" "/proc/$worker/status"; then
			return 0
		fi
		sleep 0.05
	done
	echo "weftd did not take over within $((tries / 20)) s; its last words:" >&2
	tail -n 15 "$state/weft.log" >&2
	return 1
}

# Ends weftd by SIGTERM as an administrator would. 1 when it had to be killed or did not exit with 0.
weft_stop() {
	local pid=$weft_pid code=0 tries
	[ -n "$pid" ] || return 0
	weft_pid=
	kill -TERM "$pid" 2>/dev/null || true
	for tries in $(seq 200); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	if kill -0 "$pid" 2>/dev/null; then
		echo "weftd ignores SIGTERM for $((tries / 20)) s; killing it" >&2
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
		return 1
	fi
	wait "$pid" || code=$?
	[ "$code" -eq 0 ] || echo "weftd ended with status $code" >&2
	[ "$code" -eq 0 ]
}

# weft_pin NAME: where a map is pinned.
weft_pin() {
	echo "$(weft_state)"/bpffs/weft/abi-*/"$1"
}

weft_uninstall() {
	weft_control --bpffs "$(weft_state)/bpffs/weft" uninstall
}

# Programs attached to the topology's cgroups, one id a line.
attached() {
	bpftool -j cgroup tree "$(dirname "$(topology show cgroup cli)")" 2>/dev/null | jq -r '.. | .id? // empty' | sort -u
}

# Processes of weftd and its worker.
weft_processes() {
	find "$(topology show cgroup daemon)" -name cgroup.procs -exec cat {} +
}

# All that is still there of weftd, a line each.
weft_left() {
	local lock
	lock=$(weft_state)/bpffs/weft
	lock=${lock#/}
	weft_pins
	attached | sed 's/^/an attached program: /'
	weft_processes | sed 's/^/a process: /'
	find "$(weft_state)/weft.sock" "$(weft_state)/weft.sock.replace" "$(topology show cgroup daemon)/weft" "/run/weft/${lock//\//-}"*.lock -maxdepth 0 2>/dev/null
}

# What weftd left in its BPF file system; the kernel's own maps.debug and progs.debug are none of ours.
weft_pins() {
	find "$(weft_state)/bpffs" -mindepth 1 ! -name '*.debug' 2>/dev/null
}
