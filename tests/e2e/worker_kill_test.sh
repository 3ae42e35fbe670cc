#!/usr/bin/env bash
# kill -9 of the worker, ten times, under all that a node does: exchanges that the kernel carries go on and none fails; those in the proxy end
# by an answer or a closed connection, and are counted; the next worker adopts what is open and serves new connections within a second.
# Then kill -9 of the keeper: from then on nothing is meshed, and nothing waits.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

kills=10
in_proxy=8

worker() {
	status_of .worker.pid
}

is_another_worker() {
	local pid
	pid=$(worker)
	[[ $pid =~ ^[0-9]+$ ]] && [ "$pid" -gt 0 ] && [ "$pid" != "$1" ] && kill -0 "$pid"
}

# A worker that lived for less than a second would make its successor wait.
kill_workers() {
	local round pid start slowest=0 took
	counted=0
	for round in $(seq "$kills"); do
		sleep 1.1
		pid=$(worker)
		start=${EPOCHREALTIME/./}
		kill -KILL "$pid"
		wait_until 30 is_another_worker "$pid" || failed "kill $round: another worker takes over"
		took=$(((${EPOCHREALTIME/./} - start) / 1000))
		[ "$took" -le "$slowest" ] || slowest=$took
		sleep 0.3
		counted=$((counted + $(status_of '.proxy.reasons.adopted_error // 0')))
	done
	between "$kills workers die and others take over, the slowest within two seconds (ms)" 0 2000 "$slowest"
}

no_error() {
	local what=$1 path=$2 report=$3 before=$4
	equal "$what: no error in $(requests_of "$report") requests while $kills workers died" 0 "$(errors_of "$report")"
	between "$what: they went by the $path path" $((before + $(requests_of "$report") / 2)) 1000000000 "$(path_count "$path")"
}

all_at_once() {
	local state bypass remote seconds=$((kills * 2)) answers said lives ended start
	state=$(weft_state)
	# the pools are warm and the connections have been with the kernel before the first kill
	load 1 8 http://10.96.0.11/stable/100B >/dev/null
	load 1 8 http://10.96.0.14/100B >/dev/null
	bypass=$(path_count bypass) remote=$(path_count remote)
	load "$seconds" 8 http://10.96.0.11/stable/100B >"$state/bypass.json" &
	load "$seconds" 8 http://10.96.0.14/100B >"$state/remote.json" &
	in_pod cli python3 "$here/worker_kill.py" "$seconds" "$in_proxy" >"$state/lives.json" &
	client --rate 4/s --write-out '%{stderr}%{http_code} %{num_connects}\n' "http://reviews/stable/[1-$((seconds * 4))]" 2>"$state/idle" >/dev/null &
	(
		start=${EPOCHREALTIME/./}
		client --max-time 20 --limit-rate 4M --write-out '%{stderr}%{http_code} %{exitcode}\n' http://script:8000/bytes/67108864 2>&1 >/dev/null | tail -n 1
		echo $(((${EPOCHREALTIME/./} - start) / 1000))
	) >"$state/stream" &
	kill_workers
	wait $(jobs -p | grep -vx "$weft_pid")
	cat "$state/lives.json"

	no_error 'same node' bypass "$(cat "$state/bypass.json")" "$bypass"
	no_error 'other node' remote "$(cat "$state/remote.json")" "$remote"
	equal 'idle connection: all requests answered' $((seconds * 4)) "$(grep -c '^200' "$state/idle")"
	equal 'idle connection: it is still the same one' 1 "$(awk '{n += $2} END {print n}' "$state/idle")"
	mapfile -t said <"$state/stream"
	like 'a stream in the proxy ends with a word' '^(200|503|502|000) [0-9]+$' "${said[0]}"
	between 'a stream in the proxy ends soon or is carried on (ms)' 0 19000 "${said[1]}"

	lives=$(cat "$state/lives.json")
	equal 'exchanges in the proxy end by 200, 503 or a closed connection' '[]' "$(jq -c '[.counts | keys[] | select(test("200|503|closed") | not)]' <<<"$lives")"
	ended=$(jq '[.counts | to_entries[] | select(.key | test("proxy (503|closed)")).value] | add' <<<"$lives")
	between 'they were inside when workers died' "$kills" 100000 "$ended"
	between 'none ended so uncounted' "$ended" 100000 "$counted"
	between 'none waited longer than a worker takes to be replaced (ms)' 0 2000 "$(jq '.longest_ms["in the proxy"]' <<<"$lives")"
	for each in kernel proxy; do
		between "new connections to the $each wait for a second at most (ms)" 0 1000 "$(jq ".longest_ms[\"new to the $each\"]" <<<"$lives")"
	done
	equal 'new connections to the kernel: each is answered' '["new to the kernel 200"]' "$(jq -c '[.counts | keys[] | select(test("to the kernel"))]' <<<"$lives")"
}

begin
weft_start "$config" || exit 1
all_at_once
equal 'status counts the restarts' "$kills" "$(status_of .worker.restarts)"
equal 'everything is served after all that' 'v1 ratings ready 64' \
	"$(who http://reviews/stable/1) $(who http://ratings/) $(get http://reviews/healthz) $(($(client http://reviews/stable/64MB | wc -c) / 1048576))"

said=$(in_pod cli python3 "$here/worker_kill.py" --keeper "$(status_of .worker.keeper_pid)" "$(topology show ip v1)")
echo "$said"
weft_pid=
equal 'kill -9 of the keeper: an open connection ends' 'ratings closed' "$(jq -r '.open | join(" ")' <<<"$said")"
between 'new ones go to their destination at once: from when on, all of them (ms)' 0 250 "$(jq '.last_ms | del(.v1) | [.[], 0] | max' <<<"$said")"
between 'and are served there' 100 1000000 "$(jq '.answers.v1 // 0' <<<"$said")"
between 'none waits (ms)' 0 250 "$(jq .longest_ms <<<"$said")"
equal 'the worker went with its keeper' '' "$(weft_processes)"
weft_start "$config" || exit 1
equal 'the next weftd serves' 'v1 ratings' "$(who http://reviews/stable/1) $(who http://ratings/)"
check 'and ends cleanly' weft_stop
equal 'nothing is left' '' "$(weft_left)"
