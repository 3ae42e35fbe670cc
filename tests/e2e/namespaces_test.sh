#!/usr/bin/env bash
# Pods of two namespaces, fed by istiod: a stream and a scope for each, which share what is the same; tools ask which one is meant; and a worker that
# dies costs neither of them what it serves.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cluster.sh
. "$(dirname "$0")/cluster.sh"

answer_is() {
	[ "$(who 'http://pool:8000/[1-24]' | sort -u | xargs)" = "$1" ]
}

# from_v1 URL: as the pod of the other namespace
from_v1() {
	in_pod v1 curl -s -o /dev/null -w '%{http_code}' --max-time 5 -H 'host: pool' "$1"
}

v1_is_answered() {
	[ "$(from_v1 http://10.96.0.21:8000/)" = 200 ]
}

status() {
	weft_control status -o json | jq -r "$1"
}

status_is() {
	[ "$(status "$1")" = "$2" ]
}

begin
istiod_up
python3 - "$config" >"$(weft_state)/pods.yaml" <<'END'
import sys
import yaml
pods = yaml.safe_load(open(sys.argv[1]))["pods"]
client = next(pod for pod in pods if pod["name"] == "cli")
for pod in pods:
    if pod is not client:
        pod.update(namespace="shop")
yaml.safe_dump({"pods": pods}, sys.stdout)
END
weft_start "$(weft_state)/pods.yaml" --xds "grpc://127.0.0.1:$istiod_port" --xds-cache "$(weft_state)/cache" || exit 1
check "each namespace has a stream that serves" wait_until 30 status_is '[.scopes[] | select(.ready) | .scope] | sort | join(" ")' 'default shop'
check "pods of the one are served" wait_until 30 answer_is 'v1 v2 v3'
check "and those of the other" wait_until 30 v1_is_answered
one=$(weft_control dump --config-dump --namespace default | jq '[.configs[].dynamic_active_clusters // [] | length] | add')
between "the resources of a stream are shown" 3 1000 "$one"
weft_control dump --config-dump --namespace shop >"$(weft_state)/dump.json"
"$build/weftd" --check "$(weft_state)/dump.json" >"$(weft_state)/check" || failed "what is shown can be checked" "$(tail -n 3 "$(weft_state)/check")"
like "with verdicts" 'verdicts: [0-9]+ kernel' "$(cat "$(weft_state)/check")"
like "without a namespace, tools ask which" 'several namespaces' "$(weft_control dump 2>&1)"
like "for people, too" 'namespace shop .*serves' "$(weft_control xds | tr '\n' ' ')"
equal "the same content is one image of routes, and one of endpoints" '1 1' "$(status '[.scopes[].images] | "\([.[].routes] | unique | length) \([.[].endpoints] | unique | length)"')"

worker=$(status .worker.pid)
kill -9 "$worker"
check "a worker that dies is followed by one" wait_until 30 status_is '.worker.restarts' 1
check "which serves the one namespace" wait_until 30 answer_is 'v1 v2 v3'
check "and the other" wait_until 30 v1_is_answered
check "from streams of its own" wait_until 30 status_is '[.scopes[] | select(.open) | .scope] | sort | join(" ")' 'default shop'
equal "no pod waits" 0 "$(status '[.pods[] | select(.state != "serving")] | length')"
check "weftd ends cleanly" weft_stop
kill -9 "$istiod_pid"
wait "$istiod_pid" 2>/dev/null
exit 0
