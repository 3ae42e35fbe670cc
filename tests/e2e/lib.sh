# What every end-to-end test begins with. Sourced by tests/e2e/*_test.sh; tests/e2e/run.sh runs them.
# shellcheck shell=bash
#
# A test is a script that calls begin, then weft_start, then states sentences about behaviour with check, equal and their like. The
# topology, the daemon and everything they made are gone when it ends, however it ends. Its exit status is 1 if a sentence was wrong.
#
# Clients in the pod `cli` reach services by name: reviews, ratings, idle (demo/weft.yaml.in, port 80) and the scripted services of
# tests/e2e/mesh.yaml.in (port 8000).
set -uo pipefail

name=$(basename "$0" _test.sh)
prefix=${E2E_PREFIX:-e2e}-${name//_/-}
# shellcheck source=../topology/weft.sh
. "$(dirname "${BASH_SOURCE[0]}")/../topology/weft.sh"
here=$repository/tests/e2e
config=
failures=0
sentences=0

# begin [options of topology.sh up]: the topology with scripted servers, and a configuration in $config.
begin() {
	[ "$(id -u)" -eq 0 ] || {
		echo "$name: needs root" >&2
		exit 1
	}
	trap finish EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	trap 'exit 141' PIPE
	topology up --script "$@" || exit 1
	config=$(weft_state)/weft.yaml
	render_config >"$config"
}

# free_ports COUNT: that many, of 127.0.0.1. Below the range from which the kernel takes ports for connections: one of those could be taken again before who asked listens.
free_ports() {
	python3 - "$1" <<'END'
import random, socket, sys
free = []
while len(free) < int(sys.argv[1]):
    port, s = random.randrange(20000, 30000), socket.socket()
    try:
        s.bind(("127.0.0.1", port))
    except OSError:
        continue
    free.append(s)
print(*(s.getsockname()[1] for s in free))
END
}

# The demo's configuration with the tests' own resources after it: `resources` is the last key of both.
render_config() {
	topology render "$repository/demo/weft.yaml.in"
	topology render "$here/mesh.yaml.in"
}

finish() {
	local code=$?
	trap - EXIT
	trap '' INT TERM HUP PIPE
	jobs -p | grep -vx "${weft_pid:-none}" | xargs -r kill 2>/dev/null
	if [ -n "$weft_pid" ] && ! weft_stop; then
		failures=$((failures + 1))
	fi
	if { [ "$failures" -gt 0 ] || [ "$code" -ne 0 ]; } && [ -s "$(weft_state)/weft.log" ]; then
		echo "--- the last lines of weftd's log"
		tail -n 30 "$(weft_state)/weft.log"
	fi
	topology down
	if [ "$code" -ne 0 ]; then
		exit "$code"
	fi
	echo "$name: $sentences sentences, $failures wrong"
	[ "$failures" -eq 0 ] || exit 1
	exit 0
}

passed() {
	sentences=$((sentences + 1))
	echo "  ok    $1"
}

failed() {
	sentences=$((sentences + 1))
	failures=$((failures + 1))
	echo "  WRONG $1"
	[ $# -lt 2 ] || printf '        %s\n' "${@:2}"
}

# check SENTENCE COMMAND...: the command succeeds.
check() {
	local sentence=$1
	shift
	if "$@"; then passed "$sentence"; else failed "$sentence" "failed: $*"; fi
}

# equal SENTENCE WANTED GOT
equal() {
	if [ "$2" = "$3" ]; then passed "$1"; else failed "$1" "wanted: $2" "got:    $3"; fi
}

# like SENTENCE PATTERN GOT: an extended regular expression, found somewhere in GOT
like() {
	if [[ $3 =~ $2 ]]; then passed "$1"; else failed "$1" "wanted: /$2/" "got:    $3"; fi
}

# between SENTENCE LOW HIGH GOT: whole numbers, both ends included
between() {
	if [[ $4 =~ ^-?[0-9]+$ ]] && [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then passed "$1"; else failed "$1" "wanted: $2 to $3" "got:    $4"; fi
}

# kill_weft: kill -9 of all that is left of it, as when its container ends.
kill_weft() {
	local pid=$weft_pid
	weft_pid=
	echo 1 >"$(topology show cgroup daemon)/cgroup.kill"
	[ -z "$pid" ] || wait "$pid" 2>/dev/null
}

# is_over PROCESS: of weftd or its worker. For wait_until.
is_over() {
	! kill -0 "$1" 2>/dev/null
}

# wait_until SECONDS COMMAND...: 1 when the command has not succeeded by then
wait_until() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@" 2>/dev/null; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

# curl in the client pod. Service names stand for their service addresses on every port.
client() {
	local arguments=() each
	for each in reviews:11 ratings:14 idle:15 script:20 pool:21 missing:22 only:23 strict:24 away:25 gone:26; do
		arguments+=(--connect-to "${each%%:*}::10.96.0.${each##*:}:")
	done
	in_pod cli curl --silent --show-error --max-time 30 "${arguments[@]}" "$@"
}

# The body, or what curl says is wrong.
get() {
	client "$@" 2>&1
}

# tell FORMAT ...: only what curl's --write-out says, once a request. By way of stderr: --output would serve one URL only.
tell() {
	local format=$1
	shift
	client --write-out "%{stderr}$format\n" "$@" 2>&1 >/dev/null
}

# Who answered, one line a request.
who() {
	tell '%header{x-served-by}' "$@"
}

status_code() {
	tell '%{http_code}' "$@"
}

# The demo's services answer, each by its own server.
serves() {
	[ "$(who http://reviews/stable/1) $(who http://ratings/)" = 'v1 ratings' ]
}

# load SECONDS CONNECTIONS URL [options of wrk...]: wrk in the client pod; prints its report as one line of JSON.
load() {
	local duration=$1 connections=$2 url=$3
	shift 3
	in_pod cli wrk -t1 -c"$connections" -d"$duration" --latency -s "$repository/tests/topology/report.lua" "$@" "$url" | sed -n 's/^JSON //p'
}

errors_of() {
	jq -r '.errors | add' <<<"$1"
}

requests_of() {
	jq -r '.requests' <<<"$1"
}

path_count() {
	status_of ".requests.$1 // 0"
}

# edit_config PYTHON: runs statements over the parsed configuration `c` and puts the result in place of the file at once, by rename.
# `resource(type, name)` finds one of its resources.
edit_config() {
	python3 - "$config" "$1" <<'END'
import os, sys, yaml
path, statements = sys.argv[1:]
c = yaml.safe_load(open(path))


def resource(kind, name):
    return next(r for r in c["resources"] if r["@type"].endswith("." + kind) and name in (r.get("name"), r.get("cluster_name")))


exec(statements)
with open(path + ".new", "w") as out:
    yaml.safe_dump(c, out, sort_keys=False, width=200)
os.rename(path + ".new", path)
END
}

reload() {
	kill -HUP "$weft_pid"
}

generation_is_after() {
	[ "$(status_of .generation)" -gt "$1" ]
}
