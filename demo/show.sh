#!/usr/bin/env bash
# What `make demo` shows: unmodified curl, wrk and nginx in five pods on this machine; weftd routes between them, request by request, in the kernel.
# demo.sh runs it and cleans up after it, whatever its end. Exit status 0: every answer was the right one.
set -euo pipefail

prefix=${DEMO_PREFIX:?run demo/demo.sh}
seconds=${DEMO_SECONDS:-2}
# shellcheck source=../tests/topology/weft.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/topology/weft.sh"
wrong=0

if [ -t 1 ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
	bold='' dim='' green='' red='' plain=''
fi

title() {
	printf '\n%s%s%s\n' "$bold" "$1" "$plain"
	[ $# -lt 2 ] || printf '%s%s%s\n' "$dim" "$2" "$plain"
}

# judge RIGHT? WHAT RESULT: one line with a verdict; RIGHT? is a command.
judge() {
	local what=$2 result=$3
	if eval "$1"; then
		printf '  %s✓%s %-56s %s\n' "$green" "$plain" "$what" "$result"
	else
		printf '  %s✗ %-56s %s%s\n' "$red" "$what" "$result" "$plain"
		wrong=$((wrong + 1))
	fi
}

# curl in the client pod; service names resolve to their service addresses, as DNS in a cluster would say.
get() {
	in_pod cli curl --silent --show-error --max-time 20 --resolve reviews:80:10.96.0.11 --resolve ratings:80:10.96.0.14 --resolve idle:80:10.96.0.15 "$@"
}

# Who answers these requests, one line a request.
who() {
	get --output /dev/null --write-out '%header{x-served-by}\n' "$@" 2>&1 || true
}

# Shows a request as one would type it, and who answered; $1 is the expected answer (a pattern).
ask() {
	local expected=$1 answer
	shift
	answer=$(who "$@")
	judge "[[ '$answer' =~ ^($expected)$ ]]" "curl $*" "→ ${answer:-nobody}"
}

count_of() {
	weft_control status -o json | jq -r ".requests.$1 // 0"
}

bar() {
	printf '%*s' "$1" '' | tr ' ' '#'
}

weights() {
	local answers version share count connections
	answers=$(get --output /dev/null --write-out '%header{x-served-by} %{num_connects}\n' "http://reviews/[1-400]" 2>&1) || true
	connections=$(awk '{n += $2} END {print n + 0}' <<<"$answers")
	judge "[ '$connections' = 1 ]" 'curl http://reviews/[1-400]' "400 requests, $connections connection"
	for version in v1:50 v2:30 v3:20; do
		share=${version##*:} version=${version%%:*}
		count=$(grep -c "^$version " <<<"$answers") || true
		# 400 requests: five standard deviations are 50, 46 and 40
		judge "[ $((count * 100)) -gt $(((share - 13) * 400)) ] && [ $((count * 100)) -lt $(((share + 13) * 400)) ]" \
			"  $version, weight $share" "$(printf '%3d' "$count") $(bar $((count / 5)))"
	done
}

large_body() {
	local sent received
	sent=$(sha256sum <"$(weft_state)/files/v1/64MB" | cut -c 1-16)
	received=$(get http://reviews/stable/64MB | sha256sum | cut -c 1-16) || true
	judge "[ '$sent' = '$received' ]" 'curl http://reviews/stable/64MB | sha256sum' "64 MB, $received"
}

counters() {
	local path total=0 count
	declare -A meaning=(
		[bypass]="from socket to socket in the kernel: client and server on this node"
		[remote]="by the kernel onto a pooled connection: the server is elsewhere"
		[slow]="by the daemon's proxy: large or open-ended messages"
		[local_reply]="answered by the kernel itself"
	)
	for path in bypass remote local_reply slow; do
		count=$(count_of "$path")
		total=$((total + count))
		printf '    %-12s %9d   %s%s%s\n' "$path" "$count" "$dim" "${meaning[$path]}" "$plain"
	done
	weft_control status -o json | jq -r '.slow_reasons // {} | to_entries[] | select(.value > 0) | "      slow: \(.key) \(.value)"'
	judge "[ $(count_of bypass) -gt 0 ]" 'requests went from socket to socket' "$(count_of bypass) of $total"
	judge "[ $(count_of remote) -gt 0 ]" 'requests left for a pod that is not enrolled' "$(count_of remote) of $total"
}

# load NAME CONNECTIONS URL: one line of the table; leaves p50 and requests/s in last_p50 and last_rps.
load() {
	local report
	report=$(in_pod cli wrk -t1 -c"$2" -d"$seconds" --latency -s "$repository/tests/topology/report.lua" "$3" | sed -n 's/^JSON //p')
	last_p50=$(jq .p50_us <<<"$report")
	last_rps=$(jq '.requests * 1000000 / .duration_us | floor' <<<"$report")
	last_errors=$(jq '.errors | add' <<<"$report")
	printf "    %-26s %8s us %9s us %12d/s   %s\n" "$1" "$last_p50" "$(jq .p99_us <<<"$report")" "$last_rps" "${4:-}"
}

latency() {
	local direct_p50 direct_rps errors=0 connections
	printf '%s    %-26s %11s %12s %14s%s\n' "$dim" '100-byte answers' p50 p99 requests "$plain"
	for connections in 1 64; do
		load "no mesh, c=$connections" "$connections" "http://$(topology show ip v1):8080/stable/100B"
		direct_p50=$last_p50 direct_rps=$last_rps
		load "weft, same node, c=$connections" "$connections" http://10.96.0.11/stable/100B
		errors=$((errors + last_errors))
		printf '%s    %-26s %10s× %12s %13s×%s\n' "$dim" '  against no mesh' "$(ratio "$last_p50" "$direct_p50")" '' "$(ratio "$last_rps" "$direct_rps")" "$plain"
		load "weft, other node, c=$connections" "$connections" http://10.96.0.14/100B
		errors=$((errors + last_errors))
	done
	judge "[ $errors -eq 0 ]" 'every request of wrk was answered' "$errors errors"
}

ratio() {
	awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", b ? a / b : 0}'
}

printf '%sweft: HTTP requests routed in the kernel%s\n' "$bold" "$plain"
topology up
topology render "$repository/demo/weft.yaml.in" >"$(weft_state)/weft.yaml"
printf '\n    %-20s ┌── %-11s %-12s %s\n' '' 'reviews v1' "$(topology show ip v1)" 'nginx, enrolled'
printf '    %-20s ├── %-11s %-12s %s\n' "cli $(topology show ip cli)" 'reviews v2' "$(topology show ip v2)" 'nginx, enrolled'
printf '    %-20s ├── %-11s %-12s %s\n' 'curl, wrk; enrolled' 'reviews v3' "$(topology show ip v3)" 'nginx, enrolled'
printf '    %-20s └── %-11s %-12s %s\n' '' ratings "$(topology show ip ratings)" 'nginx, not enrolled: as on another node'
weft_start "$(weft_state)/weft.yaml"
printf '\n    weftd serves %s pods with the resources of demo/weft.yaml.in (generation %s)\n' "$(status_of '.pods | length')" "$(status_of .generation)"

title 'By host'
ask 'v[123]' http://reviews/
ask ratings http://ratings/
title 'By header' '  route "jason": end-user: jason → v2'
ask v2 -H 'end-user: jason' http://reviews/
ask v2 -H 'end-user: jason' http://reviews/any/path
title 'By path'
ask v1 http://reviews/stable/10KB
ask v3 http://reviews/canary/10KB
answer=$(get http://reviews/healthz 2>&1) || true
judge "[ '$answer' = ready ]" 'curl http://reviews/healthz' "→ $answer (no server: a direct response)"
title 'By weight, on one keep-alive connection'
weights
title 'What has no kernel path yet goes through the proxy, whole'
large_body
answer=$(get --write-out ' %{http_code}' http://idle/ 2>&1) || true
judge "[ '$answer' = 'no healthy upstream 503' ]" 'curl http://idle/  (a service without endpoints)' "→ $answer"
title 'What it costs' '  one wrk thread; the requests above and these are counted below'
latency
title 'Who carried the requests'
counters

title 'Leaving'
if weft_stop; then stopped=yes; else stopped=no; fi
judge "[ $stopped = yes ]" 'weftd detached everything and exited' ''
answer=$(in_pod cli curl --silent --max-time 5 --output /dev/null --write-out '%{http_code}' "http://$(topology show ip v1):8080/" 2>&1) || true
judge "[ '$answer' = 200 ]" 'the pods talk without a mesh' "$answer"
left=$(weft_pins)
judge "[ -z '$left' ]" 'nothing is pinned' "$left"

if [ "$wrong" -gt 0 ]; then
	printf '\n%s%d things were not right.%s\n' "$red" "$wrong" "$plain"
	exit 1
fi
printf '\n%sAll was right.%s\n' "$green" "$plain"
