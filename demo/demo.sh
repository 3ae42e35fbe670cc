#!/usr/bin/env bash
# sudo make demo: runs demo/show.sh and removes all that it made, at its end and on Ctrl-C. Everything is named after $prefix.
# Exit status 0: every answer was the right one; 130, 143, 141: it was interrupted, ended, or nobody reads any more.
set -u

export DEMO_PREFIX=${DEMO_PREFIX:-weft-demo}
prefix=$DEMO_PREFIX
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../tests/topology/weft.sh
. "$here/../tests/topology/weft.sh"
show=
interrupted=

# The show is a process group of its own, and a signal that reaches us is passed on until nobody of it is left: bash can lose a signal between fork and
# exec, and takes a trap in the midst of a command substitution for a syntax error. So traps are here only, where nothing of that kind goes on.
interrupt() {
	interrupted=$1
	end_show
}

end_show() {
	local tries
	[ -n "$show" ] || return 0
	for ((tries = 0; tries < 200; tries++)); do
		pgrep -g "$show" -r D,R,S,T >/dev/null || return 0
		kill -TERM -- "-$show" 2>/dev/null
		sleep 0.1
	done
	kill -KILL -- "-$show" 2>/dev/null
}

play() {
	local code
	"$here/show.sh" &
	show=$!
	[ -z "$interrupted" ] || end_show
	wait "$show"
	code=$?
	trap '' INT TERM HUP PIPE
	end_show
	[ -z "$interrupted" ] || code=$interrupted
	if [ "$code" -ne 0 ] && [ -z "$interrupted" ] && [ -s "$(weft_state)/weft.log" ]; then
		printf '\nlast lines of weftd\n'
		tail -n 15 "$(weft_state)/weft.log"
	fi
	topology down
	return "$code"
}

[ "$(id -u)" -eq 0 ] || {
	echo "demo: network namespaces, cgroups and BPF need root: sudo make demo" >&2
	exit 1
}
[ -x "$weftd" ] && [ -x "$weftctl" ] || {
	echo "demo: $weftd is not built: make" >&2
	exit 1
}
trap 'interrupt 130' INT
trap 'interrupt 143' TERM HUP
set -m
play
