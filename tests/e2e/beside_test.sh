#!/usr/bin/env bash
# weftd --replace by one of another ABI, which can take nothing over: the old one drains beside it. Who is open in it, in the kernel or in the proxy, is
# served to the end; new connections are the new one's, and nobody notices. Its time to drain is bounded; either may be killed at any step.
#
# Takes two minutes.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

next=$build/next/weftd
other=$build/other/weftd
seconds=12

nobody_drains() {
	[ "$(status_of '.draining | length')" -eq 0 ]
}

folders() {
	find "$(weft_state)/bpffs/weft" -mindepth 1 -maxdepth 1 -name 'abi-*' | wc -l
}

has_folders() {
	[ "$(folders)" -eq "$1" ]
}

# keep: a connection that stays, once it is open. kept_ended SENTENCE HOW: when it was told to, unless it is `closed` by itself.
keep() {
	rm -f "$(weft_state)/enough"
	in_pod cli python3 "$here/kept.py" "$(weft_state)/enough" >"$(weft_state)/kept" &
	kept=$!
	wait_until 30 is_captured 1
}

kept_ended() {
	[ "$2" = closed ] || touch "$(weft_state)/enough"
	wait "$kept"
	equal "$1" "$2 all good" "$(cat "$(weft_state)/kept")"
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
	check 'a connection that stays is open' keep
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
	kept_ended 'the connection that stays did not notice' open
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
	local state slow
	state=$(weft_state)
	drained --drain-time 12 && ended 'one with nothing open' "$former"
	check 'the kept connection is open' keep
	client --limit-rate 2M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' 'http://script:8000/bytes/10000000?chunked=1' 2>"$state/slow" >/dev/null &
	slow=$!
	check 'a stream is open' wait_until 30 is_captured 2
	check 'twelve seconds to drain: another one takes over' drained
	ended 'twelve seconds to drain: the old one, with a connection open' "$former"
	kept_ended 'the kept connection is closed between two answers' closed
	wait "$slow"
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
	local state between drainer
	state=$(weft_state)
	check 'a connection is open' keep
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
	kept_ended 'its connection is closed between two answers' closed
	check 'and the one that serves does so' serves
	check 'down' drained
	ended 'the one between' "$former"
}

# killed_new STEP: the old one goes on as if nothing had been.
killed_new() {
	check "new one killed at \"$1\": a connection is open" keep
	stop_at "$1"
	drained >/dev/null 2>&1
	unset WEFT_STOP_AT
	weftd=$next
	check "new one killed at \"$1\": it got there" test -e "$WEFT_STOPPED"
	check "new one killed at \"$1\": the old one serves" wait_until 30 serves
	kept_ended "new one killed at \"$1\": a connection does not notice" open
	check "new one killed at \"$1\": its pins are gone" wait_until 30 has_folders 1
	check "new one killed at \"$1\": the fast path is what it was" wait_until 30 has_fast_path on
	check "new one killed at \"$1\": probes are answered" health_is_answered
}

has_fast_path() {
	[ "$(status_of .fast_path)" = "$1" ]
}

health_is_answered() {
	curl --silent --fail --max-time 10 "http://127.0.0.1:$health_port/healthz/ready" >/dev/null
}

begins() {
	[ "$(status_of '.beginning | length')" = "${1:-1}" ]
}

log_says() {
	grep -q "$1" "$(weft_state)/weft.log"
}

late_is() {
	weft_control pods -o json | jq -r '.. | objects | select(.name? == "late").reason' | grep -q "$1"
}

# anew SENTENCE [options of weftd...]: what runs is ended, and a `next` begins.
anew() {
	weft_stop || failed "$1: the one before ends cleanly"
	weftd=$next
	weft_start "$config" --health-address "127.0.0.1:$health_port" "${@:2}"
}

# beside CONFIG: a weftd of the other ABI begins beside the one that runs, which is `next`; nobody waits for it. Its process is in $new, its log in new.log.
beside() {
	local state
	state=$(weft_state)
	"$repository/tests/topology/topology.sh" exec --prefix "$prefix" daemon -- "$other" --replace --config "$1" --control "$state/weft.sock" \
		--bpffs "$state/bpffs/weft" --health-address "127.0.0.1:$health_port" >>"$state/new.log" 2>&1 </dev/null &
	new=$!
}

# held_beside STEP: likewise, and its worker, or who is at that step, waits there until go_on.
held_beside() {
	stop_at "$1"
	WEFT_STOP_HOLDS=$(weft_state)/holds
	touch "$WEFT_STOP_HOLDS"
	export WEFT_STOP_HOLDS
	beside "$config"
	unset WEFT_STOP_AT WEFT_STOP_HOLDS
	wait_until 30 test -e "$WEFT_STOPPED"
}

go_on() {
	rm -f "$(weft_state)/holds"
}

# A new one that can't serve a pod that the old one serves waits, and the old one goes on meanwhile: it answers, it is asked, it ends.
while_it_waits() {
	local state third cut=$(weft_state)/cut.yaml code=0
	state=$(weft_state)
	sed "s#network_namespace: [^,]*-cli,#network_namespace: $state/nowhere,#" "$config" >"$cut"
	check 'while it waits: a connection is open' keep
	beside "$cut"
	check 'while it waits: the old one says that it begins' wait_until 30 begins
	equal 'while it waits: and which process' "$new" "$(status_of '.beginning[0].process')"
	like 'while it waits: so does weftctl status' "begins beside.*process $new" "$(weft_control status)"
	like 'while it waits: the old one answers' '[+]next' "$(status_of .version)"
	check 'while it waits: so do its probes' health_is_answered
	check 'while it waits: it serves' serves
	# a pod that comes is the new one's: whose programs stand first in it matters
	cp "$config" "$state/saved.yaml"
	sed "s#^pods:.*#&\n  - {name: late, namespace: default, ip: 10.255.255.1, network_namespace: $state/nowhere, cgroup: $state/nowhere}#" "$state/saved.yaml" >"$config"
	check 'while it waits: the old one enrols no pod' wait_until 30 late_is 'begins beside'
	third=$("$next" --replace --config "$config" --control "$state/weft.sock" --bpffs "$state/bpffs/weft" 2>&1) || code=$?
	like 'while it waits: a third one is told that' 'to hand over to another one' "$third"
	equal 'while it waits: ... and ends with an error' 1 "$code"
	kill -TERM "$new"
	code=0
	check 'while it waits: told to end, it does' wait_until 30 is_over "$new"
	wait "$new" || code=$?
	equal 'while it waits: with status 1' 1 "$code"
	check 'while it waits: the old one goes on' wait_until 30 begins 0
	check 'while it waits: it looks for pods again' wait_until 30 late_is nowhere
	cp "$state/saved.yaml" "$config"
	check 'while it waits: its socket is there' test -S "$state/weft.sock"
	check 'while it waits: it serves as before' serves
	check 'while it waits: its fast path is what it was' wait_until 30 has_fast_path on
	check 'while it waits: no pins of the new one are left' wait_until 30 has_folders 1
	check 'while it waits: its probes are answered' health_is_answered
	kept_ended 'while it waits: the connection did not notice' open
}

# Then nothing was given away: the new one finds nobody to drain beside it, and the next start finds what both have left.
killed_early() {
	weft_stop || failed "old one killed at \"$1\": the one before ends cleanly"
	weftd=$next
	stop_at "$1"
	weft_start "$config"
	if drained >/dev/null 2>&1; then failed "old one killed at \"$1\": none takes over"; else passed "old one killed at \"$1\": none takes over"; fi
	unset WEFT_STOP_AT
	check "old one killed at \"$1\": it got there" test -e "$WEFT_STOPPED"
	weft_start "$config"
	check "old one killed at \"$1\": the next start serves" serves
	check "old one killed at \"$1\": nothing else is there" wait_until 30 has_folders 1
}

# killed_worker STEP: of the old one, whose next worker goes on, and yields another time.
killed_worker() {
	weft_stop || failed "worker killed at \"$1\": the one before ends cleanly"
	weftd=$next
	stop_at "$1"
	WEFT_STOP_ALONE=1 weft_start "$config"
	check "worker killed at \"$1\": a connection is open" keep
	if drained >/dev/null 2>&1; then failed "worker killed at \"$1\": none takes over"; else passed "worker killed at \"$1\": none takes over"; fi
	weftd=$next
	unset WEFT_STOP_AT
	check "worker killed at \"$1\": it got there" test -e "$WEFT_STOPPED"
	check "worker killed at \"$1\": the next one serves" wait_until 30 serves
	kept_ended "worker killed at \"$1\": a connection does not notice" open
	check "worker killed at \"$1\": the fast path is what it was" wait_until 30 has_fast_path on
	check "worker killed at \"$1\": the new one's pins are gone" wait_until 30 has_folders 1
	check "worker killed at \"$1\": another try takes over" drained
	ended "worker killed at \"$1\": the old one" "$former"
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

# drainers: what status calls so, and who begins, as processes.
drainers() {
	status_of '"\(.draining | map(.process)) begins \(.beginning | map(.process))"'
}

# Who begins and who drains is told apart, also before the old one has heard of the new one, and with one of a third ABI, which is but a folder and its lock here.
told_apart() {
	local third lock step drainer
	anew 'told apart'
	third=$(weft_state)/bpffs/weft/abi-9-0000002a
	lock=${third#/}
	lock=/run/weft/${lock//\//-}.lock
	mkdir "$third"
	flock --no-fork "$lock" sleep 600 &
	drainer=$!
	check 'told apart: a third one drains' wait_until 10 lock_is_held "$lock"
	echo "$drainer" >"$lock"
	for step in 'beside: programs loaded' 'beside: yielded'; do
		check "told apart: a new one is at \"$step\"" held_beside "$step"
		equal "told apart: status says so at \"$step\"" "[$drainer] begins [$new]" "$(drainers)"
		kill -KILL "$new"
		wait "$new" 2>/dev/null
		check 'told apart: it begins no more' wait_until 30 begins 0
		go_on
		check 'told apart: its pins are gone' wait_until 30 has_folders 2
	done
	kill "$drainer"
	wait "$drainer" 2>/dev/null
	rmdir "$third"
	rm -f "$lock"
}

lock_is_held() {
	! flock --nonblock "$1" true
}

has_other_worker() {
	[ "$(status_of .worker.pid)" != "$1" ]
}

# A pod that the new one can't serve goes, and the old one serves no more of them than the new one.
a_pod_goes() {
	local cut=$(weft_state)/cut.yaml
	anew 'a pod goes'
	sed "s#network_namespace: [^,]*-cli,#network_namespace: $(weft_state)/nowhere,#" "$config" >"$cut"
	beside "$cut"
	check 'a pod goes: a new one waits' wait_until 30 begins
	sleep 2
	check 'a pod goes: and waits' begins
	sed -i.saved '/network_namespace: [^,]*-cli,/d' "$config"
	former=$weft_pid weft_pid=$new
	ended 'a pod goes: the old one' "$former"
	equal 'a pod goes: the new one serves the others' 3 "$(status_of '[.pods[] | select(.state == "serving")] | length')"
	mv "$config.saved" "$config"
}

log_counts() {
	[ "$(grep -c "$1" "$(weft_state)/weft.log")" -gt "$2" ]
}

# The old one is told to end while the new one, which goes then, has its places: who left the signal alone heeds it.
told_meanwhile() {
	local heard code=0
	anew 'told meanwhile' --stay-when-replaced
	check 'told meanwhile: a new one has the places' held_beside 'beside: places taken'
	heard=$(grep -c 'stopping when nothing is open' "$(weft_state)/weft.log")
	kill -TERM "$weft_pid"
	check 'told meanwhile: the old one lets it serve' wait_until 30 log_counts 'stopping when nothing is open' "$heard"
	kill -KILL "$new"
	wait "$new" 2>/dev/null
	check 'told meanwhile: it ends, since that one is gone' wait_until 30 is_over "$weft_pid"
	if is_over "$weft_pid"; then
		wait "$weft_pid" || code=$?
		weft_pid=
		equal 'told meanwhile: with status 0' 0 "$code"
		check 'told meanwhile: what the new one has left is cleared' weft_uninstall
		equal 'told meanwhile: nothing is left' '' "$(weft_left)"
	fi
	go_on
}

# told_to_end PROCESS: and has heard so.
told_to_end() {
	local heard
	heard=$(cat "$(weft_state)"/weft.log "$(weft_state)"/new.log 2>/dev/null | grep -c 'keeper: Terminated: stopping')
	kill -TERM "$1"
	wait_until 30 ends_are_after "$heard"
}

ends_are_after() {
	[ "$(cat "$(weft_state)"/weft.log "$(weft_state)"/new.log 2>/dev/null | grep -c 'keeper: Terminated: stopping')" -gt "$1" ]
}

# The old one is told to end while the new one has its places, and that one is killed then.
both_end() {
	local code=0
	anew 'both end'
	check 'both end: the new one has the places' held_beside 'beside: places taken'
	check 'both end: the old one is told to end' told_to_end "$weft_pid"
	kill -KILL "$new"
	wait "$new" 2>/dev/null
	check 'both end: it ends' wait_until 30 is_over "$weft_pid"
	wait "$weft_pid" || code=$?
	weft_pid=
	equal 'both end: with status 0' 0 "$code"
	equal 'both end: nothing is left' '' "$(weft_left)"
	go_on
}

# A new one that serves ends before it has said so: the old one hears of it, and does not go on with what was cleared away.
unsaid() {
	anew 'unsaid'
	check 'unsaid: the new one serves' held_beside 'beside: serves'
	check 'unsaid: it is told to end' told_to_end "$new"
	kill -TERM "$new"
	check 'unsaid: told twice, it does' wait_until 5 is_over "$new"
	check 'unsaid: so does the old one' wait_until 30 is_over "$weft_pid"
	if is_over "$weft_pid"; then
		wait "$weft_pid"
		weft_pid=
	fi
	equal 'unsaid: nothing is left' '' "$(weft_left)"
	go_on
}

# The one that serves ends before the one that drains: what it can't take away then is the other one's to.
serving_ends_first() {
	anew 'serving ends first' --drain-time 3600
	check 'serving ends first: a connection is open' keep
	check 'serving ends first: another one takes over' drained
	check 'serving ends first: it ends' weft_stop
	check 'serving ends first: the old one drains still' test -z "$(kill -0 "$former" 2>&1)"
	equal 'serving ends first: its pins are there' 1 "$(folders)"
	kept_ended 'serving ends first: the connection did not notice' open
	ended 'serving ends first: the old one' "$former"
	equal 'serving ends first: nothing is left' '' "$(weft_left)"
}

# A worker of the new one is late: that of the old one has died meanwhile, and the next one, which goes on, has its pins without their lock.
late_worker() {
	local worker before captured
	anew 'late worker'
	before=$(weft_pins | wc -l)
	worker=$(status_of .worker.pid)
	check 'late worker: it has not begun yet' held_beside 'worker: in its cgroup'
	kill -KILL "$worker"
	check 'late worker: another one of the old one serves' wait_until 30 has_other_worker "$worker"
	go_on
	check 'late worker: the new one ends' wait_until 30 is_over "$new"
	wait "$new" 2>/dev/null
	equal 'late worker: what is pinned is what was' "$before" "$(weft_pins | wc -l)"
	captured=$(status_of .kernel.connections_captured)
	check 'late worker: the old one serves' serves
	check 'late worker: and captures' [ "$(status_of .kernel.connections_captured)" -gt "$captured" ]
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
health_port=$(free_ports 1)
weftd=$next
weft_start "$config" --health-address "127.0.0.1:$health_port"
while_it_waits
for step in 'beside: programs loaded' 'beside: yielded' 'worker: pool and proxy made' 'worker: serves' 'beside: settled' 'beside: places taken' 'beside: answers' \
	'beside: serves'; do
	killed_new "$step"
done
for step in 'beside: own pins locked' 'beside: yields'; do
	killed_early "$step"
	killed_worker "$step"
done
for step in 'beside: places given' 'beside: drains' 'beside: places left'; do
	killed_old "$step"
done

told_apart
a_pod_goes
told_meanwhile
both_end
unsaid
serving_ends_first
late_worker

check 'a weftd that is to stay takes over' drained --stay-when-replaced --drain-time 3600
check 'the one before it has ended' wait_until 30 nobody_drains
check 'a connection is open' keep
check 'it drains' drained
said=$(weft_uninstall)
like 'uninstall ends both' 'Ending weftd.*Ending weftd' "${said//$'\n'/ }"
kept_ended 'the connection is closed between two answers' closed
wait "$former" "$weft_pid"
weft_pid=
equal 'uninstall: nothing is left' '' "$(weft_left)"
