#!/usr/bin/env bash
# A DaemonSet's rolling update with a second pod: two image roots, each with the command line and the options that deploy/weft.yaml has, one started while the other serves
# and ended as the kubelet ends a pod when the new one is ready. No request fails, no stream breaks off.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=cluster.sh
. "$(dirname "$0")/cluster.sh"

health=127.0.0.1:$((20000 + $$ % 10000))

# arguments INSTANCE ROOT: those of the manifest, one a line; its ConfigMap, with this cluster's addresses, is written where it is mounted.
arguments() {
	python3 - "$repository/deploy/weft.yaml" "$1" "$2" "grpc://127.0.0.1:$istiod_port" "$health" <<'END'
import os, sys, yaml
path, instance, root, istiod, health = sys.argv[1:]
things = {thing["kind"]: thing for thing in yaml.safe_load_all(open(path))}
spec = things["DaemonSet"]["spec"]["template"]["spec"]
container, = spec["containers"]
volume = next(volume["name"] for volume in spec["volumes"] if volume.get("configMap", {}).get("name") == things["ConfigMap"]["metadata"]["name"])
folder = root + next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume)
os.makedirs(folder, exist_ok=True)
for name, text in things["ConfigMap"]["data"].items():
    with open(f"{folder}/{name}", "w") as file:
        yaml.safe_dump({**yaml.safe_load(text), "xds": istiod, "health-address": health}, file)
for argument in container["args"]:
    print(argument.replace("$(NODE_NAME)", "node-a").replace("$(WEFT_INSTANCE)", instance))
END
}

# node_pod INSTANCE: starts weftd as that pod's container: its own root, its own cgroup, and of the node what the manifest mounts. Its process is in $pod_pid.
node_pod() {
	local root group given
	root=$(weft_state)/root-$1
	group=$(topology show cgroup daemon)/$1
	mapfile -t given < <(arguments "$1" "$root")
	mkdir -p "$group"
	# shellcheck disable=SC2016
	unshare -m sh -ec '
		root=$1 state=$2 group=$3
		shift 3
		echo $$ >"$group/cgroup.procs"
		mount --make-rprivate /
		mount --rbind /proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --bind "$state/bpffs" "$root/sys/fs/bpf"
		mount --bind "$state" "$root/run/weft"
		mount --bind "$state/cache" "$root/var/lib/weft"
		exec chroot "$root" /usr/sbin/weftd "$@"
	' sh "$root" "$(weft_state)" "$group" "${given[@]}" --kubeconfig /run/weft/kubeconfig --cgroup-root "$cgroups" >>"$(weft_state)/weft.log" 2>&1 </dev/null &
	pod_pid=$!
}

# is_ready INSTANCE PROCESS: as the kubelet asks, within the container.
is_ready() {
	WEFT_INSTANCE=$1 nsenter --mount="/proc/$2/ns/mnt" chroot "$(weft_state)/root-$1" /usr/bin/weftctl ready >/dev/null
}

is_loaded() {
	[ "$(status_of .is_loading)" = false ]
}

# stream RATE: 12 MB through the proxy, as fast as that; prints its status, curl's, and how much came.
stream() {
	in_container curl -s -o "$(weft_state)/stream.body" --max-time 60 --limit-rate "$1" -w '%{http_code} %{exitcode} %{size_download}' "http://10.96.0.20:8000/bytes/12000000?chunked=1"
}

begin
"$repository/scripts/image-root.sh" "$build" "$(weft_state)/root-first" || exit 1
cp -a "$(weft_state)/root-first" "$(weft_state)/root-second"
mkdir -p "$(weft_state)/cache"
istiod_up
api_up
cgroups=$(dirname "$(topology show cgroup cli)")
sandbox
kubeconfig
namespace default "$weft_label"
pod cli "$uid" "$(topology show ip cli)"

node_pod first
first=$pod_pid
weft_pid=$pod_pid
check "the first pod is ready" wait_until 30 is_ready first "$first"
check "with all programs" wait_until 30 is_loaded
check "and serves" wait_until 30 is_meshed

in_container wrk -t1 -c8 -d12 --latency -s "$repository/tests/topology/report.lua" http://10.96.0.21:8000/100B | sed -n 's/^JSON //p' >"$(weft_state)/load.json" &
load=$!
in_container wrk -t1 -c2 -d12 --latency -H 'connection: close' -s "$repository/tests/topology/report.lua" http://10.96.0.21:8000/100B | sed -n 's/^JSON //p' >"$(weft_state)/fresh.json" &
fresh=$!
stream 2M >"$(weft_state)/stream" &
stream=$!
check "a stream is under way" wait_until 30 test -s "$(weft_state)/stream.body"
check "a probe of the second pod fails while the first one serves" eval '! WEFT_INSTANCE=second weft_control ready >/dev/null 2>&1'
node_pod second
second=$pod_pid
check "the second pod gets ready" wait_until 30 is_ready second "$second"
check "the first one's container still runs: nothing starts it again" kill -0 "$first"
check "but is not ready" eval '! is_ready first "$first" 2>/dev/null'
equal "its liveness is answered by who serves" 200 "$(curl -s -o /dev/null -w '%{http_code}' "http://$health/healthz/live")"
kill -TERM "$first"
weft_pid=$second
wait "$stream"
equal "a stream that was in its proxy arrives whole" '200 0 12000000' "$(cat "$(weft_state)/stream")"
check "told to end, it does when nothing is open there any more" wait_until 30 is_over "$first"
code=0
wait "$first" || code=$?
equal "with status 0" 0 "$code"
wait "$load" "$fresh"
equal "no error in $(requests_of "$(cat "$(weft_state)/load.json")") requests on connections that stayed open" 0 "$(errors_of "$(cat "$(weft_state)/load.json")")"
equal "nor in $(requests_of "$(cat "$(weft_state)/fresh.json")") on new ones" 0 "$(errors_of "$(cat "$(weft_state)/fresh.json")")"
check "the second pod serves" is_meshed
check "it is ready still" is_ready second "$second"
check "the programs carry requests" eval '[ $(($(path_count bypass) + $(path_count remote))) -gt 0 ]'
check "weftd ends cleanly" weft_stop
check "and leaves no pins" eval '[ -z "$(weft_pins)" ]'
wait_out "$sandbox_pid"
wait_out "$api_pid"
wait_out "$istiod_pid"
exit 0
