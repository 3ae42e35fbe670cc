#!/usr/bin/env bash
# Runs the end-to-end tests, one after the other: every tests/e2e/*_test.sh, or those named.
#   sudo [BUILD=build] tests/e2e/run.sh [routing reload ...]
# Each brings up its own topology (E2E_PREFIX-NAME) and daemon and takes them away. The whole output of a test is in $BUILD/e2e/NAME.log.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
export BUILD=${BUILD:-build}
[[ $BUILD = /* ]] || BUILD=$repository/$BUILD
export E2E_PREFIX=${E2E_PREFIX:-e2e}
limit_seconds=${E2E_LIMIT:-300}

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

tests=()
if [ $# -gt 0 ]; then
	for name in "$@"; do
		name=$(basename "$name" .sh)
		tests+=("$here/${name%_test}_test.sh")
	done
else
	tests=("$here"/*_test.sh)
fi

mkdir -p "$BUILD/e2e"
passed=0 failed=0
# The test is in the background so that a signal reaches this shell at once; it ends the test, whose own trap cleans up.
trap '[ -z "${pid:-}" ] || kill -TERM "$pid" 2>/dev/null; wait; rm -f "/run/weft-$E2E_PREFIX.lock"; exit 130' INT TERM HUP
for test in "${tests[@]}"; do
	name=$(basename "$test" _test.sh)
	log=$BUILD/e2e/$name.log
	start=${EPOCHREALTIME/./}
	timeout --signal=TERM --kill-after=30 "$limit_seconds" bash "$test" >"$log" 2>&1 9>&- </dev/null &
	pid=$!
	code=0
	wait "$pid" || code=$?
	seconds=$(((${EPOCHREALTIME/./} - start) / 100000))
	seconds=$((seconds / 10)).$((seconds % 10))
	if [ "$code" -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok    %-24s %6s s   %s\n' "$name" "$seconds" "$(tail -n 1 "$log")"
	else
		failed=$((failed + 1))
		printf 'FAIL  %-24s %6s s   ' "$name" "$seconds"
		if [ "$code" -eq 124 ]; then echo "took more than $limit_seconds s"; else echo "exit status $code"; fi
		grep -A 3 '^  WRONG' "$log" | head -n 40 | sed 's/^/      /'
		echo "      --- the last lines of $log"
		tail -n 25 "$log" | sed 's/^/      /'
	fi
done
rm -f "/run/weft-$E2E_PREFIX.lock"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
