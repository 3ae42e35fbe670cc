#!/usr/bin/env bash
# A body arrives whole and unchanged: 0 B to 64 MB, both ways, whatever its framing, and whatever path the exchange before it took.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

sizes=(0 1 100 4095 16384 65537 1048576 2097151 2097152 2097153 8388608 67108864)
more_sizes=(3000000)
declare -A digest

# The bytes that script_server.py sends for /bytes/N, in files of their own.
make_patterns() {
	mkdir -p "$(weft_state)/pattern"
	python3 - "$repository/tests/topology" "$(weft_state)/pattern" "${sizes[@]}" "${more_sizes[@]}" <<'END'
import sys
sys.path.insert(0, sys.argv[1])
from script_server import pattern
for size in sys.argv[3:]:
    with open(f"{sys.argv[2]}/{size}", "wb") as out:
        out.writelines(pattern(int(size)))
END
}

pattern() {
	cat "$(weft_state)/pattern/$1"
}

sum() {
	sha256sum | cut -d ' ' -f 1
}

downloads() {
	local host size framing
	for host in script away; do
		for framing in content-length chunked close; do
			for size in "${sizes[@]}"; do
				equal "$1: $size bytes down from $host, $framing" "${digest[$size]}" "$(client "http://$host:8000/bytes/$size?$framing=1" | sum)"
			done
		done
	done
	equal "$1: a 1 MB file that nginx sends" "$(sum <"$(weft_state)/files/v1/1MB")" "$(client http://reviews/stable/1MB | sum)"
	equal "$1: a 64 MB file that nginx sends" "$(sum <"$(weft_state)/files/v1/64MB")" "$(client http://reviews/stable/64MB | sum)"
	equal "$1: a 64 MB file from a pod that is not enrolled" "$(sum <"$(weft_state)/files/v1/64MB")" "$(client http://ratings/64MB | sum)"
}

uploads() {
	local host size
	for host in script away; do
		for size in "${sizes[@]}"; do
			equal "$1: $size bytes up to $host, content-length" "$size ${digest[$size]} content-length" \
				"$(client --data-binary "@$(weft_state)/pattern/$size" "http://$host:8000/sha256")"
			equal "$1: $size bytes up to $host, chunked" "$size ${digest[$size]} chunked" "$(pattern "$size" | client --upload-file - "http://$host:8000/sha256")"
		done
		equal "$1: 3000000 bytes up to $host after a 100 Continue" "3000000 ${digest[3000000]} content-length" \
			"$(client --header 'Expect: 100-continue' --data-binary "@$(weft_state)/pattern/3000000" "http://$host:8000/sha256")"
	done
}

# Small and large in turn on one connection: the exchange goes from kernel to proxy and back, and no byte may pass another.
alternation() {
	local host order=(100 3000000 100 0 2097153 1 2097152 65537 8388608 100) size urls=() wanted
	wanted=$(for size in "${order[@]}"; do pattern "$size"; done | sum)
	for host in script away; do
		urls=()
		for size in "${order[@]}"; do
			urls+=("http://$host:8000/bytes/$size")
		done
		equal "$1: small and large in turn from $host" "$wanted" "$(client "${urls[@]}" | sum)"
		equal "$1: and that on one connection" 1 "$(client --write-out '%{stderr}%{num_connects}\n' "${urls[@]}" 2>&1 >/dev/null | awk '{n += $1} END {print n}')"
		urls=()
		for size in "${order[@]}"; do
			urls+=("http://$host:8000/bytes/$size?chunked=1" "http://$host:8000/bytes/100")
		done
		wanted_chunked=$(for size in "${order[@]}"; do pattern "$size"; pattern 100; done | sum)
		equal "$1: chunked and small in turn from $host" "$wanted_chunked" "$(client "${urls[@]}" | sum)"
	done
}

at_once() {
	local directory
	directory=$(weft_state)/at-once
	rm -rf "$directory"
	mkdir "$directory"
	client --parallel --parallel-immediate --parallel-max 16 --output "$directory/#1" 'http://script:8000/bytes/3000000?n=[1-32]'
	equal "$1: 32 bodies of 3 MB at once" "32 ${digest[3000000]}" "$(sha256sum "$directory"/* | cut -d ' ' -f 1 | sort | uniq -c | xargs)"
}

begin
make_patterns
for size in "${sizes[@]}" "${more_sizes[@]}"; do
	digest[$size]=$(pattern "$size" | sum)
done
for mode in on remote off; do
	weft_start "$config" --fast-path "$mode" || exit 1
	downloads "$mode"
	uploads "$mode"
	alternation "$mode"
	at_once "$mode"
	like "$mode: a body cut short is an error to the client as well" 'transfer closed|Recv failure|outstanding read data' "$(get http://script:8000/hang-up/body)"
	check "$mode: weftd ends cleanly" weft_stop
done
