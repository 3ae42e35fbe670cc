#!/usr/bin/env bash
# Recorded ADS streams of a real istiod, push by push, through `weftd --replay`: what it prints is compared with tests/replay/NAME.txt.
#   replay.sh WEFTD OUTPUT [--update] [NAME...]
# Besides: where a recording is plain HTTP routing, nine in ten routes (bookshop: all) must be the kernel's.
set -euo pipefail

weftd=$1
output=$2
shift 2
update=
if [ "${1:-}" = --update ]; then
	update=yes
	shift
fi
here=$(dirname "$0")
recordings=$here/../data/recordings
[ $# -gt 0 ] || set -- $(cd "$recordings" && echo *)
mkdir -p "$output"

declare -A least=([bookshop]=100 [mtls-on]=90 [kinds]=90 [kinds-dns]=90 [kinds-dualstack]=90 [kinds-registry-only]=90 [kinds-sidecar]=90 [routing]=90)
failed=0
for name in "$@"; do
	if ! "$weftd" --replay "$recordings/$name" >"$output/$name.txt"; then
		echo "FAIL $name: $(tail -n 1 "$output/$name.txt")"
		failed=$((failed + 1))
		continue
	fi
	if [ -n "$update" ]; then
		cp "$output/$name.txt" "$here/$name.txt"
	elif ! diff -u --label expected --label found "$here/$name.txt" "$output/$name.txt"; then
		echo "FAIL $name"
		failed=$((failed + 1))
	fi
	read -r _ kernel _ all _ < <(tail -n 1 "$output/$name.txt")
	if [ -n "${least[$name]:-}" ] && [ $((kernel * 100)) -lt $((all * least[$name])) ]; then
		echo "FAIL $name: $kernel of $all routes are the kernel's, ${least[$name]} in 100 are wanted"
		failed=$((failed + 1))
	fi
done
echo "replay: $# recordings, $failed failures"
[ "$failed" -eq 0 ]
