#!/usr/bin/env bash
# weftd serves before the kernel has verified the programs that read messages: the proxy does it, and nothing fails when they come into force.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

weft_is_up='.generation >= 1 and .worker.pid > 0'

is_loading() {
	[ "$(status_of .is_loading)" = true ]
}

is_loaded() {
	[ "$(status_of .is_loading)" = false ]
}

in_kernel() {
	echo $(($(path_count bypass) + $(path_count remote)))
}

kernel_carries() {
	who 'http://pool:8000/[1-8]' >/dev/null
	[ "$(in_kernel)" -gt 0 ]
}

begin
weft_start "$config" || exit 1
check "it is up before all programs are loaded" is_loading
like "and weftctl says so" 'when the kernel has verified its programs' "$(weft_control status)"
load 4 16 http://10.96.0.21:8000/100B >"$(weft_state)/load.json" &
wrk=$!
equal "and serves" 'v1 v2 v3' "$(who 'http://pool:8000/[1-12]' | sort -u | xargs)"
check "they are loaded in the end" wait_until 30 is_loaded
wait "$wrk"
report=$(cat "$(weft_state)/load.json")
equal "no error in $(requests_of "$report") requests meanwhile" 0 "$(errors_of "$report")"
between "the proxy carried the first of them" 1 1000000 "$(path_count slow)"
check "the kernel others" kernel_carries
check "weftd ends cleanly" weft_stop

weft_start "$config" || exit 1
check "loading again" is_loading
check "weftd ends cleanly, before it is done" weft_stop
equal "and leaves nothing" "" "$(weft_left)"

weft_start "$config" || exit 1
worker=$(status_of .worker.pid)
check "loading once more" is_loading
kill -9 "$worker"
check "the next worker serves" wait_until 30 eval '[ "$(status_of .worker.pid)" != "$worker" ] && [ "$(status_code http://pool:8000/)" = 200 ]'
check "and loads what the former one could not" wait_until 30 is_loaded
check "so that the kernel carries requests" wait_until 30 kernel_carries
check "weftd ends cleanly" weft_stop

weft_start "$config" || exit 1
check "loading when somebody takes over" is_loading
check "the next one takes over" weft_replace "$config"
check "who then serves with all programs" wait_until 30 is_loaded
check "so that the kernel carries requests" wait_until 30 kernel_carries
check "weftd ends cleanly" weft_stop
