#!/usr/bin/env bash
# Runs a guard's tests without it, one guard at a time: they must then fail.
#   tests/order/guards.sh BUILD GUARD... [--built GUARD...]     the programs are built here without it; what follows --built, make has built
set -euo pipefail

build=$1
shift
failed=0
is_built=

# The programs without the guard, in tests that are linked anew with them.
build_without() {
	local directory=$1 switch=WEFT_WITHOUT_${2^^} cc
	mkdir -p "$directory/lib"
	# Only the datapath holds the programs; the other libraries are the same.
	make --no-print-directory -s BUILD="$directory" EXTRA_BPF_CFLAGS="-D$switch" EXTRA_CPPFLAGS="-I$build/gen" \
		"$directory/lib/datapath.a" >"$directory/build.log" 2>&1 || { cat "$directory/build.log"; exit 1; }
	cc=$(make -s --no-print-directory BUILD="$build" print-order-link DATAPATH="$directory/lib/datapath.a" OUT="$directory/order_test")
	bash -c "$cc"
}

built=()
guards=()
for guard in "$@"; do
	if [ "$guard" = --built ]; then
		is_built=yes
		continue
	fi
	guards+=("$guard")
	[ -n "$is_built" ] || built+=("$guard")
done

# Each in a folder of its own, so all processors can build.
export build
export -f build_without
printf '%s\n' "${built[@]}" | xargs -P "$(nproc)" -I '{}' bash -euo pipefail -c 'build_without "$build/guards/{}" "{}"'

for guard in "${guards[@]}"; do
	directory=$build/guards/$guard
	if timeout 60 "$directory/order_test" "test_guard_$guard" >"$directory/test.log" 2>&1; then
		echo "FAIL  without $guard every test passed: the guard is not tested"
		failed=1
	else
		echo "ok    without $guard: $(grep -o "^\[  FAILED  \] test[a-z_]*" "$directory/test.log" | sort -u | wc -l) of its tests fail, as they must"
	fi
done
exit $failed
