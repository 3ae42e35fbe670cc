# A cluster around a node: istiod and an API server as tests have them, and a pod of Kubernetes made of the topology's pod `cli`. Sourced after lib.sh.
# shellcheck shell=bash

python=$build/xds-venv/bin/python

istiod_up() {
	local file
	file=$(weft_state)/istiod.port
	"$python" "$repository/tests/xds/istiod.py" --config "$config" --port-file "$file" --log "$(weft_state)/istiod.log" --port 0 >>"$(weft_state)/istiod.err" 2>&1 &
	istiod_pid=$!
	wait_until 30 test -s "$file" || { cat "$(weft_state)/istiod.err"; exit 1; }
	istiod_port=$(cat "$file")
}

# api_up [OPTION...]: the tests' own API server, or that of tests/kube/server where KUBE_SERVER says where it is. At the same address when it is up again.
api_up() {
	local file
	local -a server=(python3 "$repository/tests/kube/apiserver.py")
	file=$(weft_state)/api.port
	rm -f "$file"
	[ -z "${KUBE_SERVER:-}" ] || server=("$KUBE_SERVER" --role "$repository/deploy/weft.yaml")
	"${server[@]}" --dir "$(weft_state)/api" --port-file "$file" --port "${api_port:-0}" "$@" >>"$(weft_state)/api.err" 2>&1 &
	api_pid=$!
	wait_until 60 test -s "$file" || { tail -n 20 "$(weft_state)/api.err"; exit 1; }
	read -r api_port api_orders <"$file"
}

# api JSON: orders it about
api() {
	curl -s -o "$(weft_state)/api.answer" --fail-with-body --max-time 5 -d "$1" "http://127.0.0.1:${api_orders:-$api_port}/control"
}

api_count() {
	curl -s --max-time 5 "http://127.0.0.1:${api_orders:-$api_port}/control" | jq -r ".$1"
}

# api_forgets OBJECT: what was asked of it before is too old from now on, and there is one more object
api_forgets() {
	if [ -z "${KUBE_SERVER:-}" ]; then
		api "{\"put\": $1, \"expire\": true, \"drop\": true}"
	else
		wait_out "$api_pid"
		api_up --forget
		api "{\"put\": $1}"
	fi
}

# namespace NAME [LABEL]
namespace() {
	api "{\"put\": {\"kind\": \"Namespace\", \"metadata\": {\"name\": \"$1\", \"labels\": {${2:-}}}}}"
}

weft_label='"istio.io/dataplane-mode": "weft"'

# pod_object NAME UID IP [LABEL] [SPEC] [ANNOTATION]: without a UID the server gives it one, as a real one always does
pod_object() {
	local ips='' known=${2:+\"uid\": \"$2\",}
	[ -z "$3" ] || ips="{\"ip\": \"$3\"}"
	echo "{\"kind\": \"Pod\", \"metadata\": {\"name\": \"$1\", \"namespace\": \"default\", $known \"labels\": {\"app\": \"$1\"${4:+, $4}}, \"annotations\": {${6:-}}},
		\"spec\": {\"nodeName\": \"node-a\", \"containers\": [{\"name\": \"main\"}]${5:+, $5}}, \"status\": {\"phase\": \"Running\", \"podIPs\": [$ips]}}"
}

pod() {
	api "{\"put\": $(pod_object "$@")}"
}

# The sandbox of pod `cli`: a process in its network namespace, in the cgroup that kubelet would have made for the uid that the API server gave it.
sandbox() {
	pod cli '' ''
	uid=$(jq -r '.uids[0]' "$(weft_state)/api.answer")
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

# A kubeconfig for that API server, in the topology's folder, from which its paths count.
kubeconfig() {
	local server=http://127.0.0.1:$api_port
	[ -z "${KUBE_SERVER:-}" ] || server="https://127.0.0.1:$api_port', certificate-authority: 'api/ca.crt"
	cat >"$(weft_state)/kubeconfig" <<END
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: '$server'}}]
users: [{name: me, user: {tokenFile: api/token}}]
END
}
