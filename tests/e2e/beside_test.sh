#!/usr/bin/env bash
# weftd --replace by one of another ABI, which can take nothing over: the old one drains beside it. Who is open in it, in the kernel or in the proxy, is
# served to the end; new connections are the new one's, and nobody notices. Its time to drain is bounded; either may be killed at any step.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

next=$build/next/weftd
other=$build/other/weftd
seconds=12

serves() {
	[ "$(who http://reviews/stable/1) $(who http://ratings/)" = 'v1 ratings' ]
}

is_over() {
	! kill -0 "$1" 2>/dev/null
}

nobody_drains() {
	[ "$(status_of '.draining | length')" -eq 0 ]
}

folders() {
	find "$(weft_state)/bpffs/weft" -mindepth 1 -maxdepth 1 -name 'abi-*' | wc -l
}

has_folders() {
	[ "$(folders)" -eq "$1" ]
}

# ended SENTENCE PROCESS: by itself, with status 0.
ended() {
	local code=0
	check "$1: it ends" wait_until 30 is_over "$2"
	wait "$2" || code=$?
	equal "$1: with status 0" 0 "$code"
}

# A client for each connection, which stays open as long as the kernel carries what it asks for: it prints how many answers were not 200.
under_load() {
	local state said former clients=()
	state=$(weft_state)
	load 1 8 http://10.96.0.11/stable/100B >/dev/null
	load 1 8 http://10.96.0.14/100B >/dev/null
	load "$seconds" 32 http://10.96.0.11/stable/100B --timeout 8s >"$state/bypass.json" &
	clients+=($!)
	load "$seconds" 8 http://10.96.0.14/100B --timeout 8s >"$state/remote.json" &
	clients+=($!)
	in_pod cli python3 "$here/replace.py" "$seconds" 1 20 200 2500 >"$state/clients.json" &
	clients+=($!)
	client --limit-rate 8M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' http://reviews/stable/64MB 2>"$state/stream" >/dev/null &
	clients+=($!)
	client --limit-rate 2M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' 'http://script:8000/bytes/12000000?chunked=1' 2>"$state/relayed" >/dev/null &
	clients+=($!)
	# connections that come and go
	in_pod cli wrk -t1 -c4 -d"$seconds" -H 'Connection: close' --timeout 8s -s "$repository/tests/topology/report.lua" http://10.96.0.11/stable/100B | sed -n 's/^JSON //p' >"$state/short.json" &
	clients+=($!)
	sleep 1.5
	former=$weft_pid
	weftd=$other
	check 'a weftd of another ABI takes over' weft_replace "$config"
	like 'it is the other one' '[+]other' "$(status_of .version)"
	equal 'the old one drains, and the new one says so' "$former" "$(status_of '.draining[0].process')"
	like 'so does weftctl status' "draining.*process $former" "$(weft_control status)"
	has_both=$(folders)
	equal 'each has pins of its own' 2 "$has_both"
	equal 'the keeper that drains runs' 0 "$(is_over "$former"; echo $((1 - $?)))"
	wait "${clients[@]}"
	for said in bypass remote short; do
		equal "$said: no error in $(requests_of "$(cat "$state/$said.json")") requests" '{}' "$(jq -c '.errors | with_entries(select(.value != 0))' "$state/$said.json")"
	done
	cat "$state/clients.json"
	equal 'exchanges in the proxy: all are answered' '[]' "$(jq -c '[keys[] | select(test("200$|connections|longest") | not)]' "$state/clients.json")"
	equal 'exchanges in the proxy: each on the connection that it had' '[1]' "$(jq -c '[to_entries[] | select(.key | test("connections")).value] | unique' "$state/clients.json")"
	equal 'a stream in the proxy arrives whole' '200 0 67108864' "$(cat "$state/stream")"
	equal 'a relayed response arrives whole' '200 0 12000000' "$(cat "$state/relayed")"
	ended 'the old one, when nothing is open in it' "$former"
	check 'nobody drains any more' wait_until 30 nobody_drains
	equal 'its pins are gone' 1 "$(folders)"
	equal 'one keeper and one worker are left' 2 "$(weft_processes | wc -l)"
	check 'and serve' serves
}

# drained [options of weftd...]: the one that runs is replaced by one of the other ABI with these options; its process is in $former.
drained() {
	former=$weft_pid
	if [ "$weftd" = "$other" ]; then weftd=$next; else weftd=$other; fi
	weft_replace "$config" "$@"
}

bounded_drain() {
	local state kept slow
	state=$(weft_state)
	drained --drain-time 5 && ended 'one with nothing open' "$former"
	in_pod cli python3 "$here/kept.py" 30 >"$state/kept" &
	kept=$!
	client --limit-rate 2M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' 'http://script:8000/bytes/10000000?chunked=1' 2>"$state/slow" >/dev/null &
	slow=$!
	check 'the kept connection is open' wait_until 30 is_captured 2
	check 'five seconds to drain: another one takes over' drained
	ended 'five seconds to drain: the old one, with a connection open' "$former"
	wait "$kept" "$slow"
	equal 'the kept connection is closed between two answers' 'closed all good' "$(cat "$state/kept")"
	equal 'a stream that ends in that time arrives whole' '200 0 10000000' "$(cat "$state/slow")"
	like 'it says so' 'the time to drain is over' "$(cat "$state/weft.log")"
	check 'its pins are gone' wait_until 30 has_folders 1
	check 'the new one serves' serves
}

is_captured() {
	[ "$(status_of .connections)" -ge "$1" ]
}

# A weftd of an ABI whose last one drains still.
of_the_same_abi() {
	local kept state between drainer
	state=$(weft_state)
	in_pod cli python3 "$here/kept.py" 60 >"$state/kept" &
	kept=$!
	check 'a connection is open' wait_until 30 is_captured 1
	check 'up' drained
	drainer=$former between=$weftd
	if drained 2>/dev/null; then failed 'down again, while the old one drains: it does not take over'; else passed 'down again, while the old one drains: it does not take over'; fi
	like 'it says why' "process $drainer. was replaced and drains still" "$(tail -n 4 "$state/weft.log")"
	weftd=$between
	check 'the one between serves' serves
	check 'the same ABI as that one takes over meanwhile' weft_replace "$config"
	equal 'the drainer is seen by that, too' "$drainer" "$(status_of '.draining[0].process')"
	kill -TERM "$drainer"
	ended 'asked to end, the drainer' "$drainer"
	wait "$kept"
	equal 'its connection is closed between two answers' 'closed all good' "$(cat "$state/kept")"
	check 'and the one that serves does so' serves
	check 'down' drained
	ended 'the one between' "$former"
}

# killed_new STEP: the old one goes on as if nothing had been.
killed_new() {
	local kept
	in_pod cli python3 "$here/kept.py" 4 >"$(weft_state)/kept" &
	kept=$!
	check "new one killed at \"$1\": a connection is open" wait_until 30 is_captured 1
	stop_at "$1"
	drained >/dev/null 2>&1
	unset WEFT_STOP_AT
	weftd=$next
	check "new one killed at \"$1\": it got there" test -e "$WEFT_STOPPED"
	check "new one killed at \"$1\": the old one serves" wait_until 30 serves
	wait "$kept"
	equal "new one killed at \"$1\": a connection does not notice" 'open all good' "$(cat "$(weft_state)/kept")"
	check "new one killed at \"$1\": its pins are gone" wait_until 30 has_folders 1
	equal "new one killed at \"$1\": the fast path is what it was" on "$(status_of .fast_path)"
}

# Then nothing was given away: the new one finds nobody to drain beside it, and the next start finds what both have left.
killed_early() {
	weft_stop || failed 'old one killed before it has given anything: the one before ends cleanly'
	weftd=$next
	stop_at 'beside: own pins locked'
	weft_start "$config"
	if drained >/dev/null 2>&1; then failed 'old one killed before it has given anything: none takes over'; else passed 'old one killed before it has given anything: none takes over'; fi
	unset WEFT_STOP_AT
	check 'old one killed before it has given anything: it got there' test -e "$WEFT_STOPPED"
	weft_start "$config"
	check 'old one killed before it has given anything: the next start serves' serves
	check 'old one killed before it has given anything: nothing else is there' has_folders 1
}

# killed_old STEP: whatever it had given away serves.
killed_old() {
	weft_stop || failed "old one killed at \"$1\": the one before ends cleanly"
	weftd=$next
	stop_at "$1"
	weft_start "$config"
	who http://reviews/stable/1 >/dev/null
	unset WEFT_STOP_AT
	check "old one killed at \"$1\": the new one takes over" drained
	check "old one killed at \"$1\": it got there" wait_until 30 test -e "$WEFT_STOPPED"
	check "old one killed at \"$1\": it has ended" wait_until 30 is_over "$former"
	wait "$former" 2>/dev/null
	check "old one killed at \"$1\": the new one serves" serves
	check "old one killed at \"$1\": nothing drains" wait_until 30 nobody_drains
	check "old one killed at \"$1\": its pins are gone" wait_until 30 has_folders 1
}

stop_at() {
	export WEFT_STOP_AT=$1 WEFT_STOPPED
	WEFT_STOPPED=$(weft_state)/stopped
	rm -f "$WEFT_STOPPED"
}

begin
weftd=$next
weft_start "$config" || exit 1
check 'it serves' serves
under_load
bounded_drain
check 'with --stay-when-replaced: it takes over' drained --stay-when-replaced
ended 'the one before that' "$former"
check 'with an hour to drain: it takes over' drained --drain-time 3600
check 'with --stay-when-replaced: its pins are gone when nothing is open' wait_until 30 has_folders 1
equal 'with --stay-when-replaced: its keeper waits' '' "$(kill -0 "$former" 2>&1)"
kill -TERM "$former"
ended 'with --stay-when-replaced: told to' "$former"
of_the_same_abi

weft_stop
weftd=$next
weft_start "$config"
for step in 'beside: programs loaded' 'beside: places taken' 'worker: pool and proxy made' 'worker: serves' 'beside: serves'; do
	killed_new "$step"
done
killed_early
for step in 'beside: places given' 'beside: drains' 'beside: places left'; do
	killed_old "$step"
done

in_pod cli python3 "$here/kept.py" 60 >"$(weft_state)/kept" &
kept=$!
check 'a connection is open' wait_until 30 is_captured 1
check 'a weftd drains' drained
said=$(weft_uninstall)
like 'uninstall ends both' 'Ending weftd.*Ending weftd' "${said//$'\n'/ }"
wait "$former" "$weft_pid" "$kept"
weft_pid=
equal 'uninstall: nothing is left' '' "$(weft_left)"
