#!/usr/bin/env bash
# What a real Envoy printed under /config_dump?include_eds (`istioctl proxy-config all -o json`) of streams of a real istiod, through `weftd --check`: what
# it says is compared with tests/replay/NAME.dump.txt. tests/xds/config_dump.py made the dumps.
# Sizes of images are left out: they are those of one layout.
#   dump.sh WEFTD OUTPUT [--update]
set -euo pipefail

weftd=$(realpath "$1")
output=$2
update=${3:-}
here=$(realpath "$(dirname "$0")")
failed=0
count=0
mkdir -p "$output"
cd "$output"
for dump in "$here"/../data/envoy-dump/*.json.gz; do
	name=$(basename "$dump" .json.gz)
	count=$((count + 1))
	gunzip -c "$dump" >"$name.json"
	if ! "$weftd" --check "$name.json" | sed '/ image: /d' >"$name.dump.txt"; then
		echo "FAIL $name.json: $(tail -n 1 "$name.dump.txt")"
		failed=$((failed + 1))
	elif [ "$update" = --update ]; then
		cp "$name.dump.txt" "$here/$name.dump.txt"
	elif ! diff -u --label expected --label found "$here/$name.dump.txt" "$name.dump.txt"; then
		echo "FAIL $name.json"
		failed=$((failed + 1))
	fi
done
echo "replay: $count dumps of a real Envoy, $failed failures"
[ "$failed" -eq 0 ] && [ "$count" -gt 0 ]
