#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The torture leaves nothing behind when whoever reads its output goes away (SIGPIPE), or ends it. Needs root; BUILD says where the binaries are.
set -euo pipefail

torture=$(dirname "${BASH_SOURCE[0]}")/torture.sh
prefix=torture-left-$$
failures=0

expect_nothing() {
	local left
	left=$(ls -d "/run/netns/$prefix"* "/run/weft-topology/$prefix"* "/dev/shm/weft-$prefix"* 2>/dev/null || true)
	left+=$(pgrep -f "weft-topology/$prefix" || true)
	if [ -z "$left" ]; then
		echo "  ok    $1"
	else
		echo "  WRONG $1: $left"
		failures=$((failures + 1))
	fi
}

# An option that there is not: the torture fails, and says so at its end.
"$torture" --prefix "$prefix" --time 1 -- --bogus 2>/dev/null | true || true
expect_nothing 'nobody reads: nothing remains'
"$torture" --prefix "$prefix" --time 1 -- --bogus 2>&1 | head -n 1 >/dev/null || true
expect_nothing 'a reader that goes away after a line: nothing remains'
"$torture" --prefix "$prefix" --time 30 >/dev/null 2>&1 &
sleep 3
kill -TERM $!
wait $! || true
expect_nothing 'ended by SIGTERM: nothing remains'
exit $failures
