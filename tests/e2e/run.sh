#!/usr/bin/env bash
# Runs the end-to-end tests, E2E_JOBS (2) at a time: every tests/e2e/*_test.sh, or those named.
#   sudo [BUILD=build] [E2E_JOBS=2] [E2E_WHICH=together|alone] tests/e2e/run.sh [routing reload ...]
# Each brings up its own topology (E2E_PREFIX-NAME) and daemon and takes them away. The whole output of a test is in $BUILD/e2e/NAME.log.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export BUILD=${BUILD:-build}
[[ $BUILD = /* ]] || BUILD=$repository/$BUILD
export E2E_PREFIX=${E2E_PREFIX:-e2e}
limit_seconds=${E2E_LIMIT:-300}
jobs=${E2E_JOBS:-2}

if [ "$(id -u)" -ne 0 ]; then
	echo "e2e: network namespaces, cgroups and BPF need root: sudo make test" >&2
	exit 1
fi
if [ ! -x "${WEFTD:-$BUILD/weftd}" ]; then
	echo "e2e: ${WEFTD:-$BUILD/weftd} is not built: make" >&2
	exit 1
fi
exec 9>"/run/weft-$E2E_PREFIX.lock"
if ! flock --nonblock 9; then
	echo "e2e: another run with the prefix '$E2E_PREFIX' is going; set E2E_PREFIX to run beside it" >&2
	exit 1
fi

if [ $# -eq 0 ]; then
	set -- "$here"/*_test.sh
fi
# What measures the whole machine says so in a line of its own, and runs when nothing else does. What takes a minute says so too, and begins first.
first=() together=() alone=()
for name in "$@"; do
	name=$(basename "$name" .sh)
	name=${name%_test}
	if grep -qs '^# Runs alone' "$here/${name}_test.sh"; then
		alone+=("$name")
	elif grep -qs '^# Takes a minute' "$here/${name}_test.sh"; then
		first+=("$name")
	else
		together+=("$name")
	fi
done
together=("${first[@]}" "${together[@]}")
case ${E2E_WHICH:-} in
together) alone=() ;;
alone) together=() ;;
"") ;;
*) echo "e2e: E2E_WHICH is 'together' or 'alone', not '$E2E_WHICH'" >&2; exit 1 ;;
esac

mkdir -p "$BUILD/e2e"
passed=0 failed=0
declare -A name_of=() start_of=()

# begins NAME: the test in the background, so that a signal reaches this shell at once; the test's own trap cleans up.
begins() {
	timeout --signal=TERM --kill-after=30 "$limit_seconds" bash "$here/$1_test.sh" >"$BUILD/e2e/$1.log" 2>&1 9>&- </dev/null &
	name_of[$!]=$1 start_of[$!]=${EPOCHREALTIME/./}
}

# one_ends: waits for any of the tests that run, and says how it ended.
one_ends() {
	local pid code=0 name log seconds
	wait -n -p pid "${!name_of[@]}" || code=$?
	name=${name_of[$pid]} log=$BUILD/e2e/${name_of[$pid]}.log
	seconds=$(((${EPOCHREALTIME/./} - ${start_of[$pid]}) / 100000))
	seconds=$((seconds / 10)).$((seconds % 10))
	unset "name_of[$pid]" "start_of[$pid]"
	if [ "$code" -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok    %-24s %6s s   %s\n' "$name" "$seconds" "$(tail -n 1 "$log")"
		return
	fi
	failed=$((failed + 1))
	printf 'FAIL  %-24s %6s s   ' "$name" "$seconds"
	if [ "$code" -eq 124 ]; then echo "took more than $limit_seconds s"; else echo "exit status $code"; fi
	grep -A 3 '^  WRONG' "$log" | head -n 40 | sed 's/^/      /'
	echo "      --- the last lines of $log"
	tail -n 25 "$log" | sed 's/^/      /'
}

trap 'kill -TERM "${!name_of[@]}" 2>/dev/null; wait; rm -f "/run/weft-$E2E_PREFIX.lock"; exit 130' INT TERM HUP
for test in "${together[@]}"; do
	[ "${#name_of[@]}" -lt "$jobs" ] || one_ends
	begins "$test"
done
while [ "${#name_of[@]}" -gt 0 ]; do one_ends; done
for test in "${alone[@]}"; do
	begins "$test"
	one_ends
done
rm -f "/run/weft-$E2E_PREFIX.lock"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
