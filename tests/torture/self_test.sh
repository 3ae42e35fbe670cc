#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Would the torture notice? Puts a relay between client and server that lies now and then (liar.py) and expects it to be found out; with a
# relay that does not lie, and with none, nothing may be found. Over loopback, no root needed. BUILD says where the binaries are.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
build=${BUILD:-build}
[[ $build = /* ]] || build=$repository/$build
folder=$(mktemp -d /dev/shm/weft-torture-self.XXXXXX)
port=$((20000 + RANDOM % 10000))
others=()
failures=0 tests=0
trap 'kill "${others[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT

wait_for_port() {
	local tries
	for tries in $(seq 200); do
		[ -z "$(ss -Hltn "sport = :$1")" ] || return 0
		sleep 0.05
	done
	echo "torture self-test: nobody listens on port $1 after $tries tries" >&2
	return 1
}

# run FAULT CLIENT-OPTIONS...: its output is in $folder/out, its exit status in $code.
run() {
	local fault=$1 address
	shift
	rm -f "$folder/ledger"
	port=$((port + 2))
	address=127.0.0.1:$port
	"$build/torture/torture-server" --name v1 --listen "$address" --ledger "$folder/ledger" >"$folder/server" 2>&1 &
	others=($!)
	wait_for_port "$port"
	if [ "$fault" != direct ]; then
		python3 "$here/liar.py" "$fault" "127.0.0.1:$((port + 1))" "$address" >"$folder/liar" 2>&1 &
		others+=($!)
		address=127.0.0.1:$((port + 1))
	fi
	wait_for_port "${address#*:}"
	code=0
	timeout 90 "$build/torture/torture-client" --ledger "$folder/ledger" --direct --time 3 --connections 12 --no huge,smallbuf,idleclose,serverfault \
		"$@" --target "self.test,/a,${name:-v1},$address" >"$folder/out" 2>&1 || code=$?
	kill "${others[@]}" 2>/dev/null || true
	wait "${others[@]}" 2>/dev/null || true
}

# expect SENTENCE STATUS PATTERN: what the last run must have ended with and, by the last line's form, found.
expect() {
	tests=$((tests + 1))
	if [ "$code" -eq "$2" ] && grep -Eq "$3" "$folder/out"; then
		echo "  ok    $1"
	else
		echo "  WRONG $1 (status $code)"
		tail -n 5 "$folder/out" | cut -c 1-600 | sed 's/^/        /'
		failures=$((failures + 1))
	fi
}

run direct
expect 'plain TCP: nothing is found' 0 '[1-9][0-9]* requests, 0 wrong, 0 lost, 0 stuck, 0 errors'
run none
expect 'an honest relay: nothing is found' 0 '[1-9][0-9]* requests, 0 wrong, 0 lost, 0 stuck, 0 errors'
run flip
expect 'a flipped bit is found' 1 'WRONG'
run drop
expect 'missing bytes are found' 1 'WRONG|STUCK'
run repeat
expect 'repeated bytes are found' 1 'WRONG'
run cross
expect 'an answer on another connection is found' 1 'WRONG'
run reset
expect 'a reset that nobody scheduled is found' 1 'ERROR.*(reset|pipe)'
run close --only pipeline --connections 48
expect 'an end of the connection that nobody scheduled is found' 1 'LOST.*no schedule asked for'
run stall
expect 'a connection that stands still is found' 1 'STUCK'
name=v2 run direct
expect 'an answer of the wrong server is found' 1 'WRONG.*answered by v1'
run direct --seed 3 --batches 20
before=$code
"$build/torture/torture-server" --name v1 --listen "127.0.0.1:$port" --ledger "$folder/ledger" >"$folder/server" 2>&1 &
others=($!)
wait_for_port "$port"
code=0
timeout 60 "$build/torture/torture-client" --ledger "$folder/ledger" --direct --seed 3 --batches 2 --connections 12 --time 3 \
	--target "self.test,/a,v1,127.0.0.1:$port" >"$folder/out" 2>&1 || code=$?
[ "$before" -eq 0 ] || code=$((code + 100))
expect 'a request that is executed twice is found' 1 'executed 2x|executed twice [1-9]'

echo "torture self-test: $((tests - failures)) passed, $failures failed"
[ "$failures" -eq 0 ]
