#!/usr/bin/env bash
# kill -9 of the worker under load: exchanges that the kernel carries go on and none fails; the next worker adopts what is open and serves
# new connections within a second.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

worker() {
	status_of .worker.pid
}

is_another_worker() {
	local pid
	pid=$(worker)
	[[ $pid =~ ^[0-9]+$ ]] && [ "$pid" -gt 0 ] && [ "$pid" != "$1" ] && kill -0 "$pid"
}

kill_worker() {
	local pid=$1 start=${EPOCHREALTIME/./}
	kill -KILL "$pid"
	check "$2: another worker takes over" wait_until 5 is_another_worker "$pid"
	between "$2: within two seconds (ms)" 0 2000 $(((${EPOCHREALTIME/./} - start) / 1000))
}

fast_path() {
	local what=$1 url=$2 path=$3 wrk report before pid
	# the pool is warm and the connections have been with the kernel before the first kill
	load 2 16 "$url" >/dev/null
	before=$(path_count "$path")
	load 8 16 "$url" >"$(weft_state)/load.json" &
	wrk=$!
	sleep 2
	for round in 1 2 3; do
		pid=$(worker)
		kill_worker "$pid" "$what, kill $round"
		sleep 1
	done
	wait "$wrk"
	report=$(cat "$(weft_state)/load.json")
	equal "$what: no error in $(requests_of "$report") requests while three workers died" 0 "$(errors_of "$report")"
	between "$what: they went by the $path path" $((before + $(requests_of "$report") / 2)) 1000000000 "$(path_count "$path")"
}

# A connection that is open while the worker dies serves on: one curl, requests before and after.
adopted_connection() {
	local answers pid
	answers=$(weft_state)/adopted
	client --rate 4/s --write-out '%{stderr}%{http_code} %{num_connects}\n' 'http://reviews/stable/[1-12]' 2>"$answers" >/dev/null &
	local curl=$!
	sleep 1
	pid=$(worker)
	kill_worker "$pid" 'idle connection'
	wait "$curl"
	equal 'idle connection: all twelve requests answered' 12 "$(grep -c '^200' "$answers")"
	equal 'idle connection: it is still the same one' 1 "$(awk '{n += $2} END {print n}' "$answers")"
}

# What the proxy carries may fail with the worker, but cleanly and at once: an answer or a closed connection, never a hang.
in_the_proxy() {
	local said start=${EPOCHREALTIME/./} pid
	client --max-time 20 --limit-rate 4M --write-out '%{stderr}%{http_code} %{exitcode}\n' http://script:8000/bytes/67108864 2>"$(weft_state)/said" >/dev/null &
	local curl=$!
	sleep 1
	pid=$(worker)
	kill_worker "$pid" 'a stream in the proxy'
	wait "$curl"
	said=$(tail -n 1 "$(weft_state)/said")
	like 'a stream in the proxy ends with a word' '^(200|503|502|000) [0-9]+$' "$said"
	between 'a stream in the proxy ends soon or is carried on (ms)' 0 19000 $(((${EPOCHREALTIME/./} - start) / 1000))
}

begin
weft_start "$config" || exit 1
fast_path 'same node' http://10.96.0.11/stable/100B bypass
fast_path 'other node' http://10.96.0.14/100B remote
adopted_connection
in_the_proxy
between 'status counts the restarts' 8 8 "$(status_of .worker.restarts)"
equal 'everything is served after all that' 'v1 ratings ready 64' \
	"$(who http://reviews/stable/1) $(who http://ratings/) $(get http://reviews/healthz) $(($(client http://reviews/stable/64MB | wc -c) / 1048576))"
check 'the keeper ends cleanly' weft_stop
