#!/usr/bin/env bash
# What tests/kernels/run.sh has done inside the other kernel: each part by itself, with its time. Exit status 1 when one of them failed.
#   BUILD=... inside.sh SERIES TORTURE-SECONDS PART...     PART: datapath, order, found, engine, e2e, torture
series=$1 torture_seconds=$2
shift 2
failed=

try() {
	local name=$1 start=$SECONDS code=0
	shift
	timeout 900 "$@" >/tmp/part.log 2>&1 || code=$?
	echo "$series $name: $([ "$code" -eq 0 ] && echo passed || echo "FAILED ($code)"), $((SECONDS - start)) s"
	if [ "$code" -ne 0 ]; then
		failed=yes
		grep -vE '^\[ (RUN|      OK)' /tmp/part.log | cut -c 1-400 | tail -n 40
	fi
}

# The fast path is asked for by name: where FIONREAD is 0 for redirected bytes, `auto` would leave all to the proxy, and whoever waits for
# FIONREAD hangs (docs/limits.md).
torture() {
	local without=pipeline
	[ "$series" != 6.1 ] || without+=,fionread
	try "torture without $without" tests/torture/torture.sh --through weft --fast-path on --forgive-eagain --time "$torture_seconds" -- --no "$without"
	grep -E '^(torture: (seed|moved)|\{)' /tmp/part.log
}

for part in "$@"; do
	case $part in
	datapath)
		try "$part features" "$BUILD/tests/datapath/features_test"
		try "$part budget" "$BUILD/tests/datapath/budget_test"
		sed -n '/without_direct_reads/q;/instructions, /p' /tmp/part.log
		;;
	order) try "$part" "$BUILD/tests/order_test" ;;
	found)
		try "$part" "$BUILD/tests/found_test"
		try "$part memo" "$BUILD/tests/memo_test"
		try "$part memory" "$BUILD/tests/memory_test"
		try "$part rest" "$BUILD/tests/rest_test"
		;;
	engine)
		for test in "$BUILD"/tests/bpf/*_test; do
			try "$part $(basename "$test" _test)" "$test" "$BUILD/tests/bpf/engine.bpf.o"
		done
		;;
	# what the engine's own tests do not cover: a command takes seconds here
	e2e) ROUTING_MODES=on ROUTING_PARTS='host weight error' E2E_LIMIT=800 try "$part routing" tests/e2e/run.sh routing ;;
	torture) torture ;;
	*) echo "inside.sh: no part is called $part" >&2 && failed=yes ;;
	esac
done
[ -z "$failed" ]
