#!/usr/bin/env bash
# Pods as Kubernetes has them, resources as istiod has them: a pod is enrolled when a label wants it and not before, label toggles under load cost
# nothing, a worker that dies and an API server that goes neither.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cluster.sh
. "$(dirname "$0")/cluster.sh"

# excepting ANNOTATION VALUE: pod `cli`, with that annotation alone
excepting() {
	pod cli "$uid" "$(topology show ip cli)" '' '' "\"traffic.sidecar.istio.io/$1\": \"$2\""
}

# exceptions_are TAKEN LEFT: of two addresses
exceptions_are() {
	is_meshed "$1" && is_not_meshed "$2"
}

# watches_exceed PODS NAMESPACES: of both more have begun
watches_exceed() {
	[ "$(status_of ".kubernetes | .pods.watches > $1 and .namespaces.watches > $2")" = true ]
}

begin
istiod_up
api_up
cgroups=$(dirname "$(topology show cgroup cli)")
sandbox
kubeconfig
namespace default
namespace shop
pod cli "$uid" "$(topology show ip cli)" "$weft_label"
pod host 1111 192.0.2.1 "$weft_label" '"hostNetwork": true'
pod early 2222 '' "$weft_label"
pod nowhere 3333 10.9.9.9 "$weft_label"
pod other 4444 10.9.9.8
pod odd 5555 10.9.9.7 "$weft_label" '' '"traffic.sidecar.istio.io/excludeOutboundPorts": "3306,mysql"'
pod many 6666 10.9.9.6 "$weft_label" '' "\"traffic.sidecar.istio.io/excludeOutboundPorts\": \"$(seq -s, 1 65)\""
hold before in_container
hold elsewhere nsenter --net="/run/netns/$prefix-cli"
weft_start '' --kubernetes --kubeconfig "$(weft_state)/kubeconfig" --node-name node-a --cgroup-root "$cgroups" \
	--xds "grpc://127.0.0.1:$istiod_port" --xds-cache "$(weft_state)/cache" || exit 1

check "a labelled pod is served what istiod has" wait_until 30 is_meshed
between "by programs at its cgroup" 1 10 "$(weft_pins | grep -c "/links/cgroup$folder_number-")"
equal "it is shown as serving" 'serving ' "$(state_of cli)"
check "a connection that it made before is counted, and not one by somebody else in its network" unmeshed_is 1
like "which people see" 'default +cli +[0-9.]+ +1 +serving' "$(weft_control pods)"
equal "the one and only so far" '1 of 1' "$(status_of '.unmeshed | "\(.open) of \(.found)"')"
equal "one of the node's network is not enrolled, with the reason" 'skipped host_network' "$(state_of host)"
equal "one without an address waits" 'waiting no_ip' "$(state_of early)"
equal "one that is not on this machine waits" 'waiting no_cgroup' "$(state_of nowhere)"
equal "nobody wants the other" 'unasked not_labelled' "$(state_of other)"
check "the user is told by an Event" wait_until 30 eval '[ "$(api_count "events[] | select(.involvedObject.name == \"host\") | .reason")" = NotEnrolled ]'
equal "one whose exceptions can't be read is not enrolled" 'skipped traffic_annotation' "$(state_of odd)"
like "which is said" 'default +odd .*excludeOutboundPorts can.t be read: mysql' "$(weft_control pods)"
equal "nor one that has more of them than there is room for" 'skipped traffic_annotation' "$(state_of many)"
like "which is said, too" 'default +many .*name more than 64 ports and ranges' "$(weft_control pods)"
for each in odd many; do
	check "an Event on $each tells its user" wait_until 30 eval '[ "$(api_count "events[] | select(.involvedObject.name == \"$each\") | .reason")" = NotEnrolled ]'
done
like "for people, too" 'default +host .*skipped +it has the network namespace of the node' "$(weft_control pods)"
equal "the connection to the API server is shown" true "$(status_of .kubernetes.pods.is_watching)"

for each in 1 2; do
	read -r pods namespaces < <(status_of '.kubernetes | "\(.pods.watches) \(.namespaces.watches)"')
	api '{"drop": true}'
	check "both watches go on at once when their connections are cut" wait_until 20 watches_exceed "$pods" "$namespaces"
done

pod cli "$uid" "$(topology show ip cli)"
check "without its label it is not enrolled any more" wait_until 30 is_not_meshed
hold between in_container
namespace default "$weft_label"
check "with that of its namespace it is again" wait_until 30 is_meshed
check "one that it made meanwhile is counted, too" wait_until 30 unmeshed_is 2
let_go between
check "until it ends" wait_until 30 unmeshed_is 1
pod cli "$uid" "$(topology show ip cli)" '"istio.io/dataplane-mode": "none"'
check "its own \`none\` wins" wait_until 30 is_not_meshed
pod cli "$uid" "$(topology show ip cli)"
check "and gone, the namespace's label counts" wait_until 30 is_meshed

excepted=$(status_of .kernel.connects_excepted)
excepting excludeOutboundPorts 3306,8000
check "exceptions are shown under the pod" wait_until 30 eval '[ "$(status_of ".pods[] | select(.name == \"cli\") | .exceptions")" = 2 ]'
check "a port that its annotation excludes is left alone" is_not_meshed
equal "its pod is served" 'serving ' "$(state_of cli)"
check "they are counted" [ "$(status_of .kernel.connects_excepted)" -gt "$excepted" ]
excepting excludeOutboundIPRanges 192.0.2.0/24,10.96.0.20/32
check "so are addresses that it excludes, and no others" wait_until 30 exceptions_are 10.96.0.21 10.96.0.20
excepting includeOutboundIPRanges 10.96.0.20/32
check "with ranges that it includes all others are" wait_until 30 exceptions_are 10.96.0.20 10.96.0.21
excepting excludeOutboundPorts http
check "with an exception that can't be read it is not enrolled any more" wait_until 30 state_is cli 'skipped traffic_annotation'
excepting includeOutboundIPRanges '*'
check "without any it is meshed as before" wait_until 30 eval 'is_meshed 10.96.0.20 && is_meshed 10.96.0.21'
equal "and has none" null "$(status_of '.pods[] | select(.name == "cli") | .exceptions')"
excepting excludeOutboundIPRanges 10.96.0.20/32

# Connections that are open stay; new ones go where they would without a mesh: to an address that a pod has.
in_container wrk -t1 -c8 -d4 --latency -s "$repository/tests/topology/report.lua" http://10.96.0.21:8000/100B | sed -n 's/^JSON //p' >"$(weft_state)/kept.json" &
kept=$!
in_container wrk -t1 -c8 -d4 --latency -H 'connection: close' -s "$repository/tests/topology/report.lua" "http://$(topology show ip v1):8080/100B" |
	sed -n 's/^JSON //p' >"$(weft_state)/fresh.json" &
fresh=$!
sleep 0.5
for toggle in 1 2 3; do
	namespace default
	sleep 0.5
	namespace default "$weft_label"
	sleep 0.4
done
wait "$kept" "$fresh"
equal "no error in $(requests_of "$(cat "$(weft_state)/kept.json")") requests on connections that stay open while the label comes and goes" 0 "$(errors_of "$(cat "$(weft_state)/kept.json")")"
equal "nor in $(requests_of "$(cat "$(weft_state)/fresh.json")") on new ones" 0 "$(errors_of "$(cat "$(weft_state)/fresh.json")")"
check "then it serves" wait_until 30 state_is cli 'serving '

in_container wrk -t1 -c8 -d5 --latency -s "$repository/tests/topology/report.lua" http://10.96.0.21:8000/100B | sed -n 's/^JSON //p' >"$(weft_state)/gone.json" &
load=$!
sleep 1
api '{"drop": true}'
wait_out "$api_pid"
sleep 1
check "with the API server gone, pods are served" is_meshed
like "and the reason is shown" 'connect' "$(wait_until 30 eval '[ "$(status_of .kubernetes.pods.last_error)" != "" ]'; status_of .kubernetes.pods.last_error)"
kill -9 "$(status_of .worker.pid)"
check "a worker that begins without it serves them too" wait_until 30 is_meshed
check "with their exceptions" is_not_meshed 10.96.0.20
check "and with what is known of connections from before" unmeshed_is 1
let_go before
check "also when it has ended" wait_until 30 unmeshed_is 0
let_go elsewhere
api_up
namespace default "$weft_label"
pod cli "$uid" "$(topology show ip cli)"
check "it is back: what it has now is what counts" wait_until 40 state_is cli 'serving '
wait "$load"
check "requests went on meanwhile" [ "$(requests_of "$(cat "$(weft_state)/gone.json")")" -gt 100 ]

lists=$(status_of '.kubernetes | .pods.lists + .namespaces.lists')
api_forgets "$(pod_object late '' '')"
check "what the server has forgotten is listed again" wait_until 30 state_is late 'waiting no_ip'
between "once for each kind, at most" $((lists + 1)) $((lists + 2)) "$(status_of '.kubernetes | .pods.lists + .namespaces.lists')"

api '{"delete": "default/cli"}'
check "a pod that is deleted is not served" wait_until 30 is_not_meshed
wait_out "$sandbox_pid"
check "nor listed" wait_until 30 eval '[ -z "$(state_of cli)" ]'
wait_until 30 find "$folder" -depth -type d -exec rmdir {} +
check "and no pin of its links is left" wait_until 30 eval '[ "$(weft_pins | grep -c "/links/\(cgroup$folder_number-\|pod\)")" = 0 ]'
check "weftd ends cleanly" weft_stop
wait_out "$api_pid"
wait_out "$istiod_pid"
exit 0
