#!/usr/bin/env bash
# An endpoint that is taken out of its cluster gets no new request and costs none: as a rolling update does it, first out of the
# configuration, then the server goes; and it is used again when it is back.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=endpoints.sh
. "$(dirname "$0")/endpoints.sh"

requests_reach() {
	# nginx's own count of connections would not do: requests come on pooled ones. The access log is off, so ask by answers.
	who 'http://pool:8000/[1-60]' | grep -c "^$1\$"
}

stop_nginx() {
	in_pod "$1" sh -c "kill -QUIT \$(cat $(weft_state)/$1.nginx.pid)"
	wait_until 30 nobody_listens "$1"
}

nobody_listens() {
	[ -z "$(in_pod "$1" ss -Hltn 'sport = :8080')" ]
}

start_nginx() {
	in_pod "$1" nginx -c "$(weft_state)/$1.nginx.conf" -p "$(weft_state)"
}

for_mode() {
	local mode=$1 wrk report
	weft_start "$config" --fast-path "$mode" || exit 1
	check "$mode: three endpoints answer" answer_is 'v1 v2 v3'
	load 10 16 http://10.96.0.21:8000/100B >"$(weft_state)/load.json" &
	wrk=$!
	sleep 1

	endpoints v1 v3
	check "$mode: v2 is out" wait_until 30 answer_is 'v1 v3'
	equal "$mode: v2 gets nothing more" 0 "$(requests_reach v2)"
	sleep 1
	stop_nginx v2
	check "$mode: with its server gone the others answer" answer_is 'v1 v3'
	start_nginx v2
	endpoints v1 v2 v3
	check "$mode: v2 is back" wait_until 30 answer_is 'v1 v2 v3'
	endpoints v2
	check "$mode: v2 alone" wait_until 30 answer_is 'v2'
	endpoints v1 v2 v3
	check "$mode: all three again" wait_until 30 answer_is 'v1 v2 v3'

	wait "$wrk"
	report=$(cat "$(weft_state)/load.json")
	equal "$mode: no error in $(requests_of "$report") requests meanwhile" 0 "$(errors_of "$report")"

	endpoints
	check "$mode: no endpoint left is 503, not a hang" wait_until 30 test_status 503
	endpoints v1 v2 v3
	check "$mode: and back" wait_until 30 answer_is 'v1 v2 v3'
	check "$mode: weftd ends cleanly" weft_stop
}

test_status() {
	[ "$(status_code http://pool:8000/)" = "$1" ]
}

begin
for mode in on remote off; do
	for_mode "$mode"
done
