# A cluster around a node: istiod and an API server as tests have them, and a pod of Kubernetes made of the topology's pod `cli`. Sourced after lib.sh.
# shellcheck shell=bash

python=$build/xds-venv/bin/python
uid=51d9b9f3-76e3-46df-8da7-ec67ae1fa852

istiod_up() {
	local file
	file=$(weft_state)/istiod.port
	"$python" "$repository/tests/xds/istiod.py" --config "$config" --port-file "$file" --log "$(weft_state)/istiod.log" --port 0 >>"$(weft_state)/istiod.err" 2>&1 &
	istiod_pid=$!
	wait_until 30 test -s "$file" || { cat "$(weft_state)/istiod.err"; exit 1; }
	istiod_port=$(cat "$file")
}

# api_up [PORT]
api_up() {
	local file
	file=$(weft_state)/api.port
	rm -f "$file"
	python3 "$repository/tests/kube/apiserver.py" --port-file "$file" --port "${1:-0}" >>"$(weft_state)/api.err" 2>&1 &
	api_pid=$!
	wait_until 30 test -s "$file" || { cat "$(weft_state)/api.err"; exit 1; }
	api_port=$(cat "$file")
}

# api JSON: orders it about
api() {
	curl -s -o /dev/null --fail --max-time 5 -d "$1" "http://127.0.0.1:$api_port/control"
}

api_count() {
	curl -s --max-time 5 "http://127.0.0.1:$api_port/control" | jq -r ".$1"
}

# namespace NAME [LABEL]
namespace() {
	api "{\"put\": {\"kind\": \"Namespace\", \"metadata\": {\"name\": \"$1\", \"labels\": {${2:-}}}}}"
}

weft_label='"istio.io/dataplane-mode": "weft"'

# pod NAME UID IP [LABEL] [SPEC] [ANNOTATION]
pod() {
	local ips=
	[ -z "$3" ] || ips="{\"ip\": \"$3\"}"
	api "{\"put\": {\"kind\": \"Pod\", \"metadata\": {\"name\": \"$1\", \"namespace\": \"default\", \"uid\": \"$2\", \"labels\": {\"app\": \"$1\"${4:+, $4}}, \"annotations\": {${6:-}}},
		\"spec\": {\"nodeName\": \"node-a\", \"containers\": [{\"name\": \"main\"}]${5:+, $5}}, \"status\": {\"phase\": \"Running\", \"podIPs\": [$ips]}}}"
}

# The sandbox of pod `cli`: a process in its network namespace, in the cgroup that kubelet would have made.
sandbox() {
	folder=$cgroups/kubepods/burstable/pod$uid
	mkdir -p "$folder/pause" "$folder/main"
	nsenter --net="/run/netns/$prefix-cli" sh -c "echo \$\$ >$folder/pause/cgroup.procs && exec sleep 1000" &
	sandbox_pid=$!
	folder_number=$(stat -c %i "$folder")
}

# Commands of pod `cli` run in a container of it.
in_container() {
	sh -c "echo \$\$ >$folder/main/cgroup.procs && exec nsenter --net=/run/netns/$prefix-cli \"\$@\"" sh "$@"
}

# The mesh takes any address at that port. code [ADDRESS]
code() {
	in_container curl -s -o /dev/null -w '%{http_code}' --max-time 5 -H 'host: pool' "http://${1:-10.96.0.21}:8000/"
}

# is_meshed [ADDRESS]
is_meshed() {
	[ "$(code "$@")" = 200 ]
}

# Service addresses exist in no namespace: only the mesh makes them answer.
is_not_meshed() {
	[ "$(code "$@")" = 000 ]
}

# hold NAME COMMAND...: a connection to v1, made by what runs COMMAND, until `let_go NAME`
hold() {
	local name=$1
	shift
	mkfifo "$(weft_state)/$name.end"
	"$@" python3 -c '
import socket, sys
connection = socket.create_connection((sys.argv[1], 8080), 20)
open(sys.argv[2], "w").close()
open(sys.argv[3]).read()
' "$(topology show ip v1)" "$(weft_state)/$name.open" "$(weft_state)/$name.end" &
	wait_until 30 test -e "$(weft_state)/$name.open"
}

let_go() {
	echo >"$(weft_state)/$1.end"
}

# unmeshed_is COUNT
unmeshed_is() {
	[ "$(status_of '.pods[] | select(.name == "cli") | .unmeshed_connections')" = "$1" ]
}

state_of() {
	weft_control pods -o json | jq -r ".pods[] | select(.name == \"$1\") | \"\(.state) \(.reason_name)\""
}

state_is() {
	[ "$(state_of "$1")" = "$2" ]
}

wait_out() {
	kill -9 "$1"
	wait "$1" 2>/dev/null
	return 0
}

# A kubeconfig for that API server, in the topology's folder.
kubeconfig() {
	cat >"$(weft_state)/kubeconfig" <<END
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: 'http://127.0.0.1:$api_port'}}]
users: [{name: me, user: {token: abc}}]
END
}
