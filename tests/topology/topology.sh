#!/usr/bin/env bash
# A node with pods, on one machine: the stage on which the e2e tests, the demo and the bench play.
#
#   topology.sh up      [--prefix NAME] [--subnet A.B.C] [--pods "cli v1 ..."] [--script] [--ipv6]
#   topology.sh down    [--prefix NAME]           removes everything, also what a crashed run left
#   topology.sh status  [--prefix NAME]           what stands, as a table; 1 if something is missing
#   topology.sh exec    [--prefix NAME] POD -- COMMAND...     in the pod's cgroup and network namespace
#   topology.sh render  [--prefix NAME] FILE      FILE with @STATE@, @CGROUP@, @NETNS@, @SUBNET@, @IP_pod@, @IP6_pod@ filled in
#   topology.sh show    [--prefix NAME] ip POD | ip6 POD | cgroup POD | netns POD | state | pods
#
# A pod is a network namespace (PREFIX-POD) joined by veth to a bridge in PREFIX-node, and a cgroup PREFIX/POD in the cgroup v2
# hierarchy. Two more names are known to exec: `node` (the node's own network namespace, where peers such as HAProxy run) and
# `daemon` (a cgroup for weftd in the caller's network namespace: weftd enters pods by itself). Every pod whose name does not
# begin with `cli` runs nginx on ports 80 and 8080 (tests/topology/nginx.conf.in says what it serves) and, with --script, a
# scripted server on 8081 (script_server.py). With --ipv6
# everybody has an IPv6 address too. Service addresses (10.96.0.0/16, fd00:96::/64) exist in no namespace: only a mesh makes them answer.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=/run/weft-topology

fail() {
	echo "topology: $*" >&2
	exit 1
}

need_root() {
	[ "$(id -u)" -eq 0 ] || fail "network namespaces and cgroups need root: run it with sudo"
}

cgroup2_mount() {
	local mount
	mount=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
	[ -n "$mount" ] || fail "no cgroup v2 is mounted; try: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"
	echo "$mount"
}

# Names that every command works with; the options of `up` are kept in $state/options so that the others need only --prefix.
load() {
	[[ $prefix =~ ^[a-z][a-z0-9-]{0,30}$ ]] || fail "bad prefix '$prefix': lower case letters, digits and '-' only"
	state=$root/$prefix
	cgroup=$(cgroup2_mount)/$prefix
	if [ -r "$state/options" ]; then
		# shellcheck disable=SC1091
		. "$state/options"
	fi
}

is_pod() {
	[[ " $pods " == *" $1 "* ]]
}

is_server() {
	[[ $1 != cli* ]]
}

# The n-th pod has address .(n+1) with the node at .1, so cli is .2.
address_of() {
	local n=2 pod
	if [ "$1" = node ]; then
		echo "$subnet.1"
		return
	fi
	for pod in $pods; do
		if [ "$pod" = "$1" ]; then
			echo "$subnet.$n"
			return
		fi
		n=$((n + 1))
	done
	fail "no pod '$1' in $prefix (there are: $pods)"
}

# 10.7.0.2 is fd00:10:7:1::2: one more, so that no group is left out where addresses are compared as text.
address6_of() {
	local ip
	ip=$(address_of "$1")
	echo "fd00:${subnet%%.*}:$(cut -d. -f2 <<<"$subnet"):$((${subnet##*.} + 1))::${ip##*.}"
}

in_netns() {
	local name=$1
	shift
	nsenter --net="/run/netns/$prefix-$name" "$@"
}

# Settings of one namespace that connection-heavy tests need. IPv6 is off unless asked for: its neighbour discovery only adds noise.
tune() {
	in_netns "$1" sh -c '
		[ -n "$1" ] || for f in /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6; do
			[ ! -e $f ] || echo 1 >$f
		done
		echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range
		echo 1 >/proc/sys/net/ipv4/tcp_tw_reuse
		ip link set lo up' tune "$ipv6"
}

make_node() {
	ip netns add "$prefix-node"
	tune node
	in_netns node ip link add br0 type bridge
	in_netns node ip addr add "$subnet.1/24" dev br0
	in_netns node ip link set br0 up
	if [ -n "$ipv6" ]; then
		in_netns node ip addr add "$(address6_of node)/64" dev br0 nodad
		in_netns node ip route add unreachable fd00:96::/64
		in_netns node sh -c 'echo 1 >/proc/sys/net/ipv6/conf/all/forwarding; echo 0 >/proc/sys/net/ipv6/icmp/ratelimit'
	fi
	# Nobody owns service addresses: an unmeshed connection to one fails at once instead of hanging. Every time: no limit on ICMP.
	in_netns node ip route add unreachable 10.96.0.0/16
	in_netns node sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/icmp_ratelimit'
	mkdir -p "$cgroup/node" "$cgroup/daemon"
}

make_pod() {
	local pod=$1 ip
	ip=$(address_of "$pod")
	ip netns add "$prefix-$pod"
	tune "$pod"
	in_netns node ip link add "$pod" type veth peer name eth0 netns "$prefix-$pod"
	in_netns node ip link set "$pod" master br0 up
	in_netns "$pod" ip addr add "$ip/24" dev eth0
	in_netns "$pod" ip link set eth0 up
	in_netns "$pod" ip route add default via "$subnet.1"
	if [ -n "$ipv6" ]; then
		in_netns "$pod" ip addr add "$(address6_of "$pod")/64" dev eth0 nodad
		in_netns "$pod" ip route add default via "$(address6_of node)"
	fi
	mkdir -p "$cgroup/$pod"
}

# What the servers serve. Lines of every file but the 64 MB one begin with the pod's name and are numbered: a body tells who
# answered, and a misplaced piece shows.
make_files() {
	local pod dir size first=
	for pod in $pods; do
		is_server "$pod" || continue
		dir=$state/files/$pod
		mkdir -p "$dir"
		for size in 10KB:10240 1MB:1048576; do
			awk -v pod="$pod" -v bytes="${size##*:}" 'BEGIN {
				while (done < bytes) {
					text = sprintf("%s line %07d", pod, ++n)
					if (bytes - done < 50) text = sprintf("%-" (bytes - done - 1) "s", text)
					text = substr(text, 1, bytes - done - 1) "\n"
					printf "%s", text
					done += length(text)
				}
			}' >"$dir/${size%%:*}"
		done
		if [ -z "$first" ]; then
			first=$dir/64MB
			head -c 67108864 /dev/urandom >"$first"
		else
			ln "$first" "$dir/64MB"
		fi
	done
}

start_servers() {
	local pod conf
	ulimit -Sn "$(ulimit -Hn)"
	for pod in $pods; do
		is_server "$pod" || continue
		conf=$state/$pod.nginx.conf
		mkdir -p "$state/tmp/$pod"
		sed -e "s|@POD@|$pod|g" -e "s|@STATE@|$state|g" -e "s|@BODY_100B@|$(printf '%-99s' "$pod says hello")|g" \
			-e "s|@IPV6@|$([ -n "$ipv6" ] || echo '#')|" \
			"$here/nginx.conf.in" >"$conf"
		exec_in "$pod" nginx -c "$conf" -p "$state" >>"$state/$pod.log" 2>&1 || fail "nginx of $pod does not start: $(tail -n 3 "$state/$pod.log")"
		if [ -n "$script" ]; then
			(exec_in "$pod" python3 "$here/script_server.py" --name "$pod" --port 8081 >>"$state/$pod.script.log" 2>&1 </dev/null &)
		fi
	done
	for pod in $pods; do
		is_server "$pod" || continue
		wait_for_port "$pod" 8080
		[ -z "$script" ] || wait_for_port "$pod" 8081
	done
}

wait_for_port() {
	local tries
	for tries in $(seq 100); do
		if [ -n "$(in_netns "$1" ss -Hltn "sport = :$2")" ]; then
			return
		fi
		sleep 0.05
	done
	fail "nobody listens on port $2 of pod $1 after $tries tries; see $state/$1*.log"
}

# Runs a command in a pod's cgroup and network namespace. nsenter and not `ip netns exec`: that hides /sys/fs/cgroup and /sys/fs/bpf.
exec_in() {
	local pod=$1
	shift
	(
		echo "$BASHPID" >"$cgroup/$pod/cgroup.procs"
		if [ "$pod" = daemon ]; then
			exec "$@"
		fi
		exec nsenter --net="/run/netns/$prefix-$pod" "$@"
	)
}

up() {
	local pod
	need_root
	for tool in ip nsenter ss nginx python3; do
		command -v "$tool" >/dev/null || fail "$tool is not installed: run 'sudo make deps'"
	done
	[ ! -d "$state" ] && [ ! -d "$cgroup" ] || remove
	mkdir -p "$state/bpffs"
	chmod 755 "$root" "$state"
	# Written before anything is made, so that `down` finds it all whatever happens next.
	printf 'subnet=%q\npods=%q\nscript=%q\nipv6=%q\n' "$subnet" "$pods" "$script" "$ipv6" >"$state/options"
	trap 'echo "topology: could not bring $prefix up; removing it" >&2; remove' EXIT
	mount -t bpf bpf "$state/bpffs"
	make_files
	make_node
	for pod in $pods; do
		make_pod "$pod"
	done
	start_servers
	trap - EXIT
}

# Kills by cgroup and by namespace, so that no process list has to be right, then removes what was made in the reverse order.
remove() {
	local name pid dir
	trap - EXIT
	if [ -d "$cgroup" ]; then
		echo 1 >"$cgroup/cgroup.kill" 2>/dev/null || true
	fi
	for name in node $pods; do
		if [ -e "/run/netns/$prefix-$name" ]; then
			for pid in $(ip netns pids "$prefix-$name" 2>/dev/null); do
				kill -9 "$pid" 2>/dev/null || true
			done
			ip netns del "$prefix-$name" 2>/dev/null || true
		fi
	done
	if [ -d "$cgroup" ]; then
		wait_unpopulated
		find "$cgroup" -depth -type d | while read -r dir; do
			rmdir "$dir" 2>/dev/null || echo "topology: cannot remove $dir: processes $(tr '\n' ' ' <"$dir/cgroup.procs")" >&2
		done
	fi
	while mountpoint -q "$state/bpffs" 2>/dev/null; do
		umount -l "$state/bpffs" || break
	done
	rm -rf --one-file-system "$state"
	rmdir "$root" 2>/dev/null || true
}

wait_unpopulated() {
	local tries
	for tries in $(seq 100); do
		grep -q '^populated 0' "$cgroup/cgroup.events" && return
		sleep 0.02
	done
	echo "topology: processes in $cgroup survive a kill ($tries tries)" >&2
}

status() {
	local pod missing=0 processes up_text
	[ -r "$state/options" ] || {
		echo "topology $prefix is not up"
		return 1
	}
	printf '%-10s %-12s %-34s %-40s %s\n' POD ADDRESS NETWORK-NAMESPACE CGROUP PROCESSES
	for pod in node $pods; do
		up_text=/run/netns/$prefix-$pod
		[ -e "$up_text" ] || up_text=missing missing=1
		processes=0
		if [ -d "$cgroup/$pod" ]; then
			processes=$(wc -l <"$cgroup/$pod/cgroup.procs")
		else
			missing=1
		fi
		if [ "$pod" != node ] && is_server "$pod" && [ "$processes" -eq 0 ]; then
			missing=1
		fi
		printf '%-10s %-12s %-34s %-40s %s\n' "$pod" "$(address_of "$pod")" "$up_text" "$cgroup/$pod" "$processes"
	done
	return $missing
}

render() {
	local pod edits=(-e "s|@STATE@|$state|g" -e "s|@CGROUP@|$cgroup|g" -e "s|@NETNS@|/run/netns/$prefix|g" -e "s|@SUBNET@|$subnet|g")
	for pod in node $pods; do
		edits+=(-e "s|@IP_$pod@|$(address_of "$pod")|g" -e "s|@IP6_$pod@|$(address6_of "$pod")|g")
	done
	sed "${edits[@]}" "$1"
	if sed "${edits[@]}" "$1" | grep -q '@[A-Z]*_*[a-z0-9]*@'; then
		fail "$1 names a pod that this topology does not have: $(sed "${edits[@]}" "$1" | grep -o '@[A-Z]*_*[a-z0-9]*@' | sort -u | tr '\n' ' ')"
	fi
}

show() {
	case "$1" in
	ip) address_of "$2" ;;
	ip6) address6_of "$2" ;;
	cgroup) echo "$cgroup/$2" ;;
	netns) echo "/run/netns/$prefix-$2" ;;
	state) echo "$state" ;;
	pods) echo "$pods" ;;
	*) fail "show what? ip POD, cgroup POD, netns POD, state or pods" ;;
	esac
}

usage() {
	sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
}

command=${1:-help}
[ $# -eq 0 ] || shift
prefix=weft subnet=10.7.0 pods="cli v1 v2 v3 ratings" script= ipv6=
while [ $# -gt 0 ]; do
	case "$1" in
	--prefix | --subnet | --pods)
		[ $# -ge 2 ] || fail "$1 needs a value"
		declare "${1#--}=$2"
		shift 2
		;;
	--script) script=yes && shift ;;
	--ipv6) ipv6=yes && shift ;;
	--) break ;;
	--*) fail "unknown option $1" ;;
	*) break ;;
	esac
done

case "$command" in
up)
	options="$subnet|$pods|$script|$ipv6"
	load
	IFS='|' read -r wanted_subnet wanted_pods wanted_script wanted_ipv6 <<<"$options"
	if [ -d "$state" ] || [ -d "$cgroup" ]; then
		remove
	fi
	subnet=$wanted_subnet pods=$wanted_pods script=$wanted_script ipv6=$wanted_ipv6
	up
	;;
down)
	need_root
	load
	remove
	;;
status)
	load
	status
	;;
exec)
	load
	[ $# -ge 3 ] && [ "$2" = -- ] || fail "usage: topology.sh exec [--prefix NAME] POD -- COMMAND..."
	pod=$1
	shift 2
	[ "$pod" = node ] || [ "$pod" = daemon ] || is_pod "$pod" || fail "no pod '$pod' in $prefix (there are: $pods)"
	[ -d "$cgroup/$pod" ] || fail "topology $prefix is not up"
	echo "$BASHPID" >"$cgroup/$pod/cgroup.procs"
	[ "$pod" != daemon ] || exec "$@"
	exec nsenter --net="/run/netns/$prefix-$pod" "$@"
	;;
render)
	load
	[ $# -eq 1 ] || fail "usage: topology.sh render [--prefix NAME] FILE"
	render "$1"
	;;
show)
	load
	[ $# -ge 1 ] || fail "show what?"
	show "$@"
	;;
help | -h | --help) usage ;;
*) fail "unknown command '$command'; topology.sh help" ;;
esac
