#!/usr/bin/env bash
# What the proxy has under way counts against a cluster's max_requests, whoever's proxy it is, until it ends: also when it ends with the process that had it.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

other_worker() {
	[ "$(status_of .worker.pid)" != "$1" ]
}

# One request is under way for long; a second one at once is one too many.
begin_long() {
	client http://script:8000/delay/20000 >/dev/null 2>&1 &
	sleep 1
	equal "$1: one request is under way, a further one is too many" 503 "$(status_code http://script:8000/hello)"
}

serves_again() {
	local i
	for i in 1 2 3 4 5 6 7 8; do [ "$(status_code http://script:8000/hello)" = 200 ] || return 1; done
}

begin
edit_config "resource('Cluster', 'outbound|8000||script.default.svc.cluster.local')['circuit_breakers'] = {'thresholds': [{'max_requests': 1}]}"
# Only the proxy keeps to max_requests.
weft_start "$config" --fast-path off || exit 1
check 'one request after the other is served' serves_again

begin_long 'before the worker dies'
worker=$(status_of .worker.pid)
kill -9 "$worker"
check 'there is another worker' wait_until 30 other_worker "$worker"
check 'what ended with it counts no more' wait_until 30 serves_again

begin_long 'before a replacement'
check 'another weftd takes over' weft_replace "$config" --fast-path off
equal 'what the old one still has under way counts' 503 "$(status_code http://script:8000/hello)"
kill -9 "$weft_former"
check 'the old one is gone' wait_until 30 is_over "$weft_former"
check 'what ended with it counts no more' wait_until 30 serves_again

begin_long 'before two replacements'
check 'another weftd takes over' weft_replace "$config" --fast-path off
first=$weft_former
check 'and another one' weft_replace "$config" --fast-path off
check 'the second one has nothing to stay for' wait_until 30 is_over "$weft_former"
equal 'what the first one has under way counts' 503 "$(status_code http://script:8000/hello)"
kill -TERM "$first"
check 'the first one is gone' wait_until 30 is_over "$first"
check 'what ended with it counts no more' wait_until 30 serves_again
check 'weftd ends cleanly' weft_stop
