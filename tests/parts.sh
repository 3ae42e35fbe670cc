#!/usr/bin/env bash
# Runs parts of `make test`, each a make target: several at a time, in the order given, then those after `--`, one by one.
#   tests/parts.sh LANES PART... [-- PART...]
# A part's output stands whole where it ends, so that parts are never mixed up; it is also kept in $BUILD/test/PART.log.
set -uo pipefail

logs=${BUILD:-build}/test
lanes=$1
shift
together=() alone=() is_alone=
for part in "$@"; do
	if [ "$part" = -- ]; then
		is_alone=yes
	elif [ -n "$is_alone" ]; then
		alone+=("$part")
	else
		together+=("$part")
	fi
done
mkdir -p "$logs"
declare -A part_of=() start_of=()
failed=()

begins() {
	echo "== $1: begins"
	make --no-print-directory "$1" >"$logs/$1.log" 2>&1 </dev/null &
	part_of[$!]=$1 start_of[$!]=$SECONDS
}

one_ends() {
	local pid code=0 part
	wait -n -p pid "${!part_of[@]}" || code=$?
	part=${part_of[$pid]}
	cat "$logs/$part.log"
	[ "$code" -eq 0 ] || failed+=("$part")
	echo "== $part: $((SECONDS - start_of[$pid])) s$([ "$code" -eq 0 ] || echo ", FAILED")"
	unset "part_of[$pid]" "start_of[$pid]"
}

trap 'kill -TERM "${!part_of[@]}" 2>/dev/null; wait; exit 130' INT TERM HUP
for part in "${together[@]}"; do
	[ "${#part_of[@]}" -lt "$lanes" ] || one_ends
	begins "$part"
done
while [ "${#part_of[@]}" -gt 0 ]; do one_ends; done
for part in "${alone[@]}"; do
	begins "$part"
	one_ends
done
if [ "${#failed[@]}" -gt 0 ]; then
	echo "FAILED: ${failed[*]}"
	exit 1
fi
echo "all of $((${#together[@]} + ${#alone[@]})) parts passed in $SECONDS s"
