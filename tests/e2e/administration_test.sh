#!/usr/bin/env bash
# What operators' tools ask over HTTP: probes, metrics, a look inside. The numbers are those that clients and servers counted, whoever carried the
# requests, and Prometheus' own parsers read them.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

python=$build/xds-venv/bin/python
requests=100000

ask() {
	curl --silent --show-error --max-time 5 "$@"
}

code_of() {
	ask --output /dev/null --write-out '%{http_code}' "$@"
}

metrics() {
	ask "http://127.0.0.1:$metrics_port/metrics"
}

# metric NAME-WITH-LABELS: its value; 0 when it is not there yet
metric() {
	metrics | awk -v name="$1" '$1 == name { print $2; found = 1 } END { if (!found) print 0 }'
}

carried() {
	local path sum=0
	for path in bypass remote local_reply slow; do
		sum=$((sum + $(metric "weft_requests_total{path=\"$path\"}")))
	done
	echo "$sum"
}

# by_workload WHAT [LABEL...]: sum of a metric by workload over the series that have all these labels
by_workload() {
	local name=$1 label lines
	shift
	lines=$(metrics | grep "^$name{")
	for label; do lines=$(grep -F "$label" <<<"$lines"); done
	awk '{ sum += $NF } END { printf "%.0f\n", sum }' <<<"$lines"
}

# What the servers of the cluster counted, the questions themselves left out. Each asks itself: no mesh.
served() {
	local pod sum=0
	for pod in v1 v2 v3; do
		sum=$((sum + $(in_pod "$pod" curl --silent http://127.0.0.1:8080/requests | awk 'NR == 3 { print $3 }')))
	done
	echo "$sum"
}

# As Prometheus reads it: the number of families, or what is wrong.
families() {
	"$python" -c 'import sys
from prometheus_client.openmetrics import parser as strict
from prometheus_client import parser as lax
print(len(list((strict if sys.argv[1] == "openmetrics" else lax).text_string_to_metric_families(sys.stdin.read()))))' "$1" 2>&1 | tail -n 1
}

start() {
	read -r health_port metrics_port admin_port <<<"$(free_ports 3)"
	weft_start "$@" --health-address "127.0.0.1:$health_port" --metrics-address "127.0.0.1:$metrics_port" --admin-address "127.0.0.1:$admin_port"
}

# count_agrees MODE: what clients, servers and metrics counted of some thousand requests
count_agrees() {
	local mode=$1 before_carried before_served before_workload before_bytes answered sent what
	local -a ends=('reporter="source"' 'source_workload="cli"' 'destination_service_name="pool"' 'response_code="200"' 'response_flags="-"')
	start "$config" --fast-path "$mode" || exit 1
	who 'http://pool:8000/[1-20]' >/dev/null # connections are there
	before_carried=$(carried)
	before_served=$(served)
	before_workload=$(by_workload istio_requests_total "${ends[@]}")
	answered=$(tell '%{http_code}' "http://pool:8000/100B?[1-$requests]" | grep -c '^200$')
	equal "$mode: every request is answered" "$requests" "$answered"
	equal "$mode: metrics count what the client counted" "$requests" "$(($(carried) - before_carried))"
	equal "$mode: by workload too" "$requests" "$(($(by_workload istio_requests_total "${ends[@]}") - before_workload))"
	for what in duration_milliseconds bytes; do
		equal "$mode: each has its place among the buckets of istio_request_$what" "$(by_workload istio_requests_total)" \
			"$(by_workload "istio_request_${what}_bucket" 'le="+Inf"')"
	done
	equal "$mode: and so do the servers" "$requests" "$(($(served) - before_served - 3))" # three asked before
	before_bytes=$(by_workload istio_request_bytes_sum)
	# responses that end with their connection go through the worker
	sent=$(tell '%{size_request}' -H 'Host: edits.test' -H "x-gone: $(printf '%0100d' 0)" \
		'http://script:8000/strip/bytes/[1-40]?close=1' 'http://script:8000/strip/echo/[1-200]' | awk '{ sum += $1 } END { print sum }')
	equal "$mode: a request that its route makes shorter has the size that the client sent" "$sent" "$(($(by_workload istio_request_bytes_sum) - before_bytes))"
}

# Requests whose client gave up, and upstreams that were closed for it while the kernel carried the exchange.
left() {
	by_workload istio_requests_total 'response_code="0"' 'response_flags="DC"' 'destination_service_name="script"'
}

freed() {
	metric 'weft_upstream_closes_total{reason="client_gone"}'
}

kernel_is_left() {
	client --max-time 1 http://script:8000/delay/0 http://script:8000/delay/20000 >/dev/null 2>&1
	[ "$(freed)" -gt "$before_freed" ]
}

begin
count_agrees on
before_freed=$(freed)
before_left=$(left)
check "on: a client gives up while the kernel carries its exchange" wait_until 30 kernel_is_left
freed=$(freed)
between "on: which counts as a request without a response" $((freed - before_freed)) 100 "$(($(left) - before_left))"
between "on: most of them in the kernel" $((requests / 2)) 1000000 "$(($(metric 'weft_requests_total{path="bypass"}') + $(metric 'weft_requests_total{path="remote"}')))"

equal "live" "live 200" "$(ask "http://127.0.0.1:$health_port/healthz/live") $(code_of "http://127.0.0.1:$health_port/healthz/live")"
equal "ready" "ready 200" "$(ask "http://127.0.0.1:$health_port/healthz/ready") $(code_of "http://127.0.0.1:$health_port/healthz/ready")"
equal "nothing else is there" 404 "$(code_of "http://127.0.0.1:$health_port/metrics")"
equal "four pods are served" 4 "$(metric 'weft_pods{state="serving"}')"
check "Prometheus reads the metrics" test "$(metrics | families prometheus)" -gt 20
check "also as OpenMetrics" test "$(ask -H 'Accept: application/openmetrics-text;version=1.0.0' "http://127.0.0.1:$metrics_port/metrics" | families openmetrics)" -gt 20
like "which says so" 'application/openmetrics-text; version=1.0.0' "$(ask -H 'Accept: application/openmetrics-text' -o /dev/null -D - "http://127.0.0.1:$metrics_port/metrics")"
like "stats are plain lines" 'requests.bypass: [0-9]+' "$(ask "http://127.0.0.1:$admin_port/stats")"
like "the configuration of a file is not dumped" "file's.*400" "$(ask --write-out '%{http_code}' "http://127.0.0.1:$admin_port/config_dump" | tr '\n' ' ')"
like "a namespace is named in UTF-8" "UTF-8.*400" "$(ask --write-out '%{http_code}' "http://127.0.0.1:$admin_port/config_dump?namespace=%ff" | tr '\n' ' ')"

# hold_connections COUNT PORT...: that many to each, which ask for nothing, for as long as its standard input is open
hold_connections() {
	python3 -c '
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(port)), 5) for port in sys.argv[2:] for _ in range(int(sys.argv[1]))]
print("held", flush=True)
sys.stdin.read()' "$@"
}

mkfifo "$(weft_state)/hold"
hold_connections 300 "$health_port" "$metrics_port" "$admin_port" <"$(weft_state)/hold" >"$(weft_state)/held" 2>&1 &
exec {hold}>"$(weft_state)/hold"
check "somebody opens 300 connections to each address" wait_until 30 grep -q held "$(weft_state)/held"
equal "no probe is kept out" '200' "$(for _ in $(seq 30); do code_of "http://127.0.0.1:$health_port/healthz/ready"; echo; done | sort -u | xargs)"
check "nor a scrape" test "$(metrics | families prometheus)" -gt 20
equal "nor the administrator" 200 "$(code_of "http://127.0.0.1:$admin_port/stats")"
like "which is what the limit is for" '^(5[0-9]|6[0-4]) of 64$' "$(status_of '.limits.http_connections | "\(.used) of \(.value)"')"
between "as is counted" 700 1000 "$(status_of .limits.http_connections.beyond)"
exec {hold}>&-
check "and none is left" wait_until 20 eval '[ "$(status_of .limits.http_connections.used)" = 0 ]'

like "levels are shown" '^pool: info$' "$(ask "http://127.0.0.1:$admin_port/logging" | grep '^pool')"
ask -X POST "http://127.0.0.1:$admin_port/logging?pool=debug" >/dev/null
equal "one area says more" "pool: debug worker: info" "$(ask "http://127.0.0.1:$admin_port/logging" | grep -E '^(pool|worker)' | xargs)"
equal "a wrong level changes nothing" 400 "$(code_of -X POST "http://127.0.0.1:$admin_port/logging?pool=loud&worker=debug")"
equal "not of the others either" "worker: info" "$(ask "http://127.0.0.1:$admin_port/logging" | grep '^worker')"
ask -X POST "http://127.0.0.1:$admin_port/logging?level=warning" >/dev/null
equal "all of them" 0 "$(ask "http://127.0.0.1:$admin_port/logging" | grep -vc ': warning')"
equal "only POST changes something" "pool: warning" "$(ask "http://127.0.0.1:$admin_port/logging?pool=debug" | grep '^pool')"
documented=$(metrics | awk '$1 == "#" && $2 == "TYPE" { print $3 }')

kill -9 "$(status_of .worker.pid)"
check "a next worker listens at the same address" wait_until 30 eval '[ "$(code_of "http://127.0.0.1:$health_port/healthz/ready")" = 200 ]'
equal "and counts on" 1 "$(metric weft_worker_restarts_total)"
# what holds a stream open here lingers, and must not answer any more
client --limit-rate 1M http://script:8000/bytes/16777216 >/dev/null 2>&1 &
sleep 1
check "a weftd that takes over does too" weft_replace "$config" --health-address "127.0.0.1:$health_port" --metrics-address "127.0.0.1:$metrics_port"
check "the former one still has that stream" kill -0 "$weft_former"
equal "and every probe is answered by the one that serves" '200' "$(for _ in $(seq 30); do code_of "http://127.0.0.1:$health_port/healthz/ready"; echo; done | sort -u | xargs)"
check "weftd ends cleanly" weft_stop

count_agrees off
check "weftd ends cleanly" weft_stop

python3 -c 'import sys, yaml; yaml.safe_dump({"pods": yaml.safe_load(open(sys.argv[1]))["pods"]}, sys.stdout)' "$config" >"$(weft_state)/pods.yaml"
start "$(weft_state)/pods.yaml" --xds grpc://127.0.0.1:9 --xds-cache "" --log-format json
like "without istiod it is live, not ready, and says for what it waits" '^namespace default: nothing has come from istiod yet: .*connection.*500$' \
	"$(ask --write-out '%{http_code}' "http://127.0.0.1:$health_port/healthz/ready" | tr '\n' ' ' | sed 's/ 500/500/')"
equal "live" 200 "$(code_of "http://127.0.0.1:$health_port/healthz/live")"
equal "the metrics say so too" "0 0" "$(metric 'weft_xds_connected{namespace="default"}') $(metric 'weft_xds_ready{namespace="default"}')"
like "the stream can be looked at" '"configs"' "$(ask "http://127.0.0.1:$admin_port/config_dump")"
equal "each line of the log is an object" "$(grep -c '^{' "$(weft_state)/weft.log")" "$(grep '^{' "$(weft_state)/weft.log" | jq -r 'select(.time and .level and .area and .message) | 1' | wc -l)"
like "which names its area" '"area":"xds"' "$(grep '^{' "$(weft_state)/weft.log")"
documented=$(printf '%s\n' "$documented" "$(metrics | awk '$1 == "#" && $2 == "TYPE" { print $3 }')" | sort -u)
equal "every metric is documented, and nothing else" "" "$(diff <(echo "$documented") <(grep -oE '^\| `[a-z_]+' "$repository/docs/metrics.md" | tr -d '|` ' | sort -u))"
check "weftd ends cleanly" weft_stop

"$build/weftd" --config "$config" --admin-address 0.0.0.0:15000 2>"$(weft_state)/bad" && failed "an administration that everybody reaches is refused"
like "an administration that everybody reaches is refused" 'loopback' "$(cat "$(weft_state)/bad")"

# Standard error is a pipe that is full, and whose reader sleeps.
mkfifo "$(weft_state)/log"
exec {log}<>"$(weft_state)/log"
dd if=/dev/zero of="$(weft_state)/log" bs=4096 count=1000 oflag=nonblock status=none 2>"$(weft_state)/dd"
cat >"$(weft_state)/weftd" <<END
#!/bin/sh
exec "$weftd" "\$@" 2>"$(weft_state)/log"
END
chmod +x "$(weft_state)/weftd"
weftd=$(weft_state)/weftd weft_start "$config"
check "weftd serves although nobody reads its log" serves
lost=$(status_of .limits.log_lines_per_second.lost)
between "it counts the lines" 3 1000 "$lost"
like "as weftctl says" "Log: [1-9][0-9]* lines lost" "$(weft_control status)"
kill -9 "$(status_of .worker.pid)"
check "a next worker begins" wait_until 30 eval '[ "$(status_of .worker.restarts)" = 1 ]'
# two lines of the keeper, and one of each worker at least
between "and counts on, also what the keeper had to say" $((lost + 3)) 1000 "$(status_of .limits.log_lines_per_second.lost)"
timeout 2 cat <&"$log" >"$(weft_state)/log.read"
reload
check "and says how many there were once somebody does" wait_until 30 eval 'timeout 1 cat <&"$log" >>"$(weft_state)/log.read"; grep -aqE "[0-9]+ lines were lost" "$(weft_state)/log.read"'
check "weftd ends cleanly" weft_stop
exec {log}>&-
