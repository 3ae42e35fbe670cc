#!/usr/bin/env bash
# What is wrong in the world or in the configuration is said in a line that tells what to do; never a crash, never a connection refused
# that the mesh caused.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# ends SENTENCE PATTERN [options of weftd...]: it ends by itself, with a status that is neither 0 nor a signal's, and says why.
ends() {
	local sentence=$1 pattern=$2 said code=0
	shift 2
	said=$(timeout 20 "${as[@]}" "$weftd" "$@" 2>&1 </dev/null) || code=$?
	between "$sentence: exit status" 1 123 "$code"
	like "$sentence: says why" "$pattern" "$said"
}

# The daemon's place when it must not disturb the first one.
elsewhere() {
	mkdir -p "$(weft_state)/other"
	echo --control "$(weft_state)/other.sock" --bpffs "$(weft_state)/other"
}

# refuses SENTENCE PATTERN FILE: by --check, without root's help
refuses() {
	ends "$1" "$2" --check "$3"
}

# serves_in_spite SENTENCE PYTHON: weftd starts with the changed configuration and serves what is right in it.
serves_in_spite() {
	cp "$(weft_state)/good.yaml" "$config"
	edit_config "$2"
	if ! weft_start "$config"; then
		failed "$1: weftd starts"
		return
	fi
	passed "$1: weftd starts"
	equal "$1: the rest is served" 'v1 v3' "$(who http://reviews/stable/1) $(who http://reviews/canary/1)"
}

# states_of_second: how many pods in which states.
states_of_second() {
	"$weftctl" --control "$(weft_state)/second.sock" -o json status 2>/dev/null | jq -r '[.pods[].state] | "\(length) \(unique | join(" "))"'
}

second_says() {
	[ "$(states_of_second)" = "$1" ]
}

# Another weftd with a place of its own is given the same pods: it leaves them to the first one, and says so.
beside_the_first() {
	local log
	log=$(weft_state)/second.log
	"$weftd" --config "$config" --control "$(weft_state)/second.sock" --bpffs "$(weft_state)/second" --cgroup "$(topology show cgroup second)" >"$log" 2>&1 &
	second=$!
	check 'a second daemon with all of its own: it leaves the pods alone' wait_until 30 second_says '4 waiting'
	like 'and says why, and what to do' "pod default/cli is not served: another weftd \\(process $(status_of .worker.pid)\\) serves it: .*--replace" "$(cat "$log")"
	like 'nor does it say that it serves them' ': worker [0-9]+ serves 0 pods, 4 waiting' "$(cat "$log")"
	equal 'the first one is not touched' '4 serving' "$(status_of '[.pods[].state] | "\(length) \(unique | join(" "))"')"
	equal 'and serves on' 'v1 v3' "$(who http://reviews/stable/1) $(who http://reviews/canary/1)"
	sleep 3
	equal 'each pod is told of once' 4 "$(grep -c 'is not served' "$log")"
}

after_the_first() {
	check 'when the first one has ended, the second one has the pods' wait_until 30 second_says '4 serving'
	equal 'and serves' 'v1 v3' "$(who http://reviews/stable/1) $(who http://reviews/canary/1)"
	kill "$second"
	check 'it ends cleanly' wait "$second"
}

cgroup2_mount() {
	awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts
}

# no_socket_there SENTENCE CONTROL BPFFS PATTERN: refused by a line that names both options, before anything is made
no_socket_there() {
	ends "$1" "--control $2 lies $4.*$3.*" --config "$config" --control "$2" --bpffs "$3"
	equal "$1: nothing is made" "" "$(find "$(weft_state)/pins" "$(weft_state)/bpffs/control" 2>/dev/null)"
}

# Pins and the control socket go by folders, but none has both: the mount would hide the socket.
control_among_pins() {
	local place
	place=$(weft_state)/pins
	no_socket_there 'a --control in the folder of --bpffs' "$place/weft.sock" "$place" 'where'
	no_socket_there 'by another way' "$(weft_state)/bpffs/../pins//run/weft.sock" "$place/" 'where'
	ln -sfn "$(weft_state)" "$(weft_state)/link"
	no_socket_there 'through a link' "$(weft_state)/link/pins/weft.sock" "$place" 'where'
	no_socket_there 'the pins through one' "$place/weft.sock" "$(weft_state)/link/pins" 'where'
	rm "$(weft_state)/link"
	ends 'an --xds-cache among the pins' "--xds-cache $place/cache lies where.*$place.*no files" --config "$config" --xds grpc://127.0.0.1:1 --xds-cache "$place/cache" \
		--control "$(weft_state)/run.sock" --bpffs "$place"
	no_socket_there 'a --control on a BPF file system that is mounted' "$(weft_state)/bpffs/control/weft.sock" "$place" 'in a BPF file system'
	no_socket_there 'which is that of --bpffs' "$(weft_state)/bpffs/control/weft.sock" "$(weft_state)/bpffs/control" 'where'
	equal 'nothing is mounted' "" "$(awk -v place="$place" '$2 == place' /proc/mounts)"
}

# cgroup v2 is where its mount says, not where it usually is.
in_another_place() {
	local usual=$weftd place
	place=$(weft_state)/cgroup2
	mkdir -p "$place"
	printf '#!/bin/sh\nexec unshare --mount sh -c '\''mount -t cgroup2 none %s && umount -l %s && exec "$@"'\'' weftd %s "$@"\n' \
		"$place" "$(cgroup2_mount)" "$usual" >"$(weft_state)/weftd"
	chmod +x "$(weft_state)/weftd"
	sed "s|cgroup: $(cgroup2_mount)/|cgroup: $place/|" "$(weft_state)/good.yaml" >"$config"
	weftd=$(weft_state)/weftd
	if weft_start "$config"; then
		equal 'cgroup v2 mounted elsewhere: served all the same' 'v1 ratings' "$(who http://reviews/stable/1) $(who http://ratings/)"
		check 'cgroup v2 mounted elsewhere: weftd ends cleanly' weft_stop
	else
		failed 'cgroup v2 mounted elsewhere: weftd starts'
	fi
	weftd=$usual
	cp "$(weft_state)/good.yaml" "$config"
}

begin
cp "$config" "$(weft_state)/good.yaml"
bad=$(weft_state)/bad.yaml
as=(env)

check '--check of a good file' "$weftd" --check "$config"
ends 'no file' 'nowhere\.yaml.*No such file|No such file.*nowhere\.yaml' --config "$(weft_state)/nowhere.yaml"
ends 'no --config' '--config' --control "$(weft_state)/other.sock"
ends 'an unknown option' 'frobnicate|[Uu]sage' --frobnicate
ends 'an unknown feature' '"corks" is no feature.*sockmap, sk_skb, fionread_mend, fionread_redirected, direct_reads, cork, push_pop' --config "$config" --disable sk_skb,corks
ends 'a bad --fast-path' 'on.*remote.*off|fast-path' --config "$config" --fast-path sideways
sed 's/^resources:/resources: ]/' "$config" >"$bad"
refuses 'broken YAML' 'bad\.yaml:[0-9]+' "$bad"
sed 's/^pods:/podz:/' "$config" >"$bad"
refuses 'an unknown key' 'bad\.yaml:[0-9]+.*podz' "$bad"
sed '0,/ip: /s/ip: [0-9.]*/ip: 10.7.0.999/' "$config" >"$bad"
refuses 'a bad address of a pod' 'bad\.yaml:[0-9]+.*address' "$bad"
sed '0,/namespace: default, ip:/s/network_namespace:/network_namezpace:/' "$config" >"$bad"
refuses 'an unknown key of a pod' 'bad\.yaml:[0-9]+.*network_namezpace' "$bad"
sed '0,/envoy.config.listener.v3.Listener/s//envoy.config.listener.v3.Lizzener/' "$config" >"$bad"
like 'an unknown resource type is named' 'Lizzener' "$("$weftd" --check "$bad" 2>&1)"
cp "$config" "$bad"
config=$bad edit_config "resource('RouteConfiguration', '80')['virtual_hosts'][0]['routes'][0]['frobnication'] = 1"
check 'an unknown field of a resource is no reason to refuse a file' "$weftd" --check "$bad"
ends 'but with --strict' 'bad\.yaml:[0-9]+:[0-9]+: error: .*frobnication.*Route that weft knows' --check "$bad" --strict
ends 'also for who serves it' 'bad\.yaml:[0-9]+:[0-9]+: .*frobnication' --config "$bad" --strict --control "$(weft_state)/other.sock"
check '--strict of a good file' "$weftd" --check "$config" --strict
head -c 100000 /dev/urandom >"$bad"
refuses 'bytes that are no text' 'bad\.yaml' "$bad"

cp "$(weft_state)/good.yaml" "$config"
chmod -R a+rX "$(weft_state)"
as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
# shellcheck disable=SC2046
ends 'no root' 'root|capabilit|CAP_|sudo' --config "$config" $(elsewhere)
as=(setpriv --bounding-set=-net_admin --inh-caps=-net_admin)
# shellcheck disable=SC2046
ends 'a capability that is missing' 'CAP_NET_ADMIN' --config "$config" $(elsewhere)
as=(unshare --mount sh -c 'umount -l "$0" && exec "$@"' "$(cgroup2_mount)")
# shellcheck disable=SC2046
ends 'no cgroup v2' 'cgroup v2.*mount' --config "$config" $(elsewhere)
as=(env)

# shellcheck disable=SC2046
ends 'a --cgroup that is in no hierarchy of cgroup v2' 'nested is not in a cgroup v2 hierarchy' --config "$config" --cgroup "$(weft_state)/nested" $(elsewhere)
check 'which is not left behind' [ ! -e "$(weft_state)/nested" ]
mkdir "$(weft_state)/nested"
# shellcheck disable=SC2046
ends 'nor is a folder that was there' 'nested is not in a cgroup v2 hierarchy' --config "$config" --cgroup "$(weft_state)/nested" $(elsewhere)
check 'which stays' [ -d "$(weft_state)/nested" ]

in_another_place
control_among_pins

weft_start "$config" || exit 1
ends 'a second daemon' 'already|running|in use|another' --config "$config" --control "$(weft_state)/weft.sock" --bpffs "$(weft_state)/bpffs/weft"
ends 'a second daemon with pins of its own' 'another weftd answers' --config "$config" --control "$(weft_state)/weft.sock" --bpffs "$(weft_state)/other"
equal 'the first one is still heard' 4 "$(status_of '.pods | length')"
beside_the_first
echo precious >"$(weft_state)/precious"
ends 'a --control that is a file' 'precious is no socket' --config "$config" --control "$(weft_state)/precious" --bpffs "$(weft_state)/other"
equal 'the file is as it was' precious "$(cat "$(weft_state)/precious")"
equal 'the first one serves on' 'v1 v3' "$(who http://reviews/stable/1) $(who http://reviews/canary/1)"
like 'weftctl says so when nobody is there' 'weftd|running|No such file|connect' "$("$weftctl" --control "$(weft_state)/nobody.sock" status 2>&1)"
check 'weftd ends cleanly' weft_stop
after_the_first

serves_in_spite 'a pod whose network namespace is gone' "c['pods'].append(dict(c['pods'][2], name='ghost', ip='10.7.0.77', network_namespace='/run/netns/$prefix-ghost'))"
like 'the log says how many are served, and how many wait' ': worker [0-9]+ serves 4 pods, 1 waiting' "$(cat "$(weft_state)/weft.log")"
like 'it is reported' 'ghost' "$(status_of '.pods[] | select(.name == "ghost") | "\(.name) \(.state) \(.reason)"')"
like 'with the reason' "$prefix-ghost|No such file|gone|network namespace" "$(status_of '.pods[] | select(.name == "ghost") | .reason')"
check 'weftd ends cleanly' weft_stop

serves_in_spite 'a pod whose cgroup is gone' "c['pods'].append(dict(c['pods'][2], name='ghost', ip='10.7.0.78', cgroup='$(topology show cgroup ghost)'))"
like 'it is reported with the reason' 'ghost|No such file|gone|cgroup' "$(status_of '.pods[] | select(.name == "ghost") | .reason')"
check 'weftd ends cleanly' weft_stop

# The programs of a cgroup run for all below it, once for each pod that they were attached for.
cgroup=$(topology show cgroup cli)
mkdir "$cgroup/below"
for each in "is that of pod default/cli|$cgroup" "lies in that of pod default/cli|$cgroup/below" "has within it that of weftd|$(dirname "$cgroup")"; do
	serves_in_spite "a pod whose cgroup ${each%|*}" "c['pods'].append(dict(c['pods'][0], name='twin', ip='10.7.0.79', cgroup='${each#*|}', network_namespace='$(topology show netns ratings)'))"
	like 'it is reported with the reason' "^waiting its cgroup ${each%|*}.*: each needs one of its own" "$(status_of '.pods[] | select(.name == "twin") | "\(.state) \(.reason)"')"
	check 'weftd ends cleanly' weft_stop
done
rmdir "$cgroup/below"

serves_in_spite 'a listener whose routes are missing' "resource('Listener', '0.0.0.0_8000')['filter_chains'][0]['filters'][0]['typed_config']['rds']['route_config_name'] = 'nothing'"
like 'its requests are answered, not refused' '^(404|503)$' "$(status_code http://pool:8000/)"
check 'weftd ends cleanly' weft_stop

# Whether a field that nobody knows decides traffic cannot be known either: the cluster is refused, not guessed at.
serves_in_spite 'an unknown field of a cluster' "resource('Cluster', 'outbound|80|v2|reviews.default.svc.cluster.local')['frobnication'] = {'level': 3}"
check 'it is a listed warning' grep -q 'frobnication.*Cluster' "$(weft_state)/weft.log"
equal 'what depends on it is answered 503' 503 "$(status_code -H 'end-user: jason' http://reviews/)"
check 'weftd ends cleanly' weft_stop

serves_in_spite 'an unknown field of a route' "
resource('RouteConfiguration', '80')['virtual_hosts'][0]['routes'][1]['frobnication'] = {'level': 3}"
equal 'what it takes is answered 503, never by a later route' 503 "$(status_code -H 'end-user: jason' http://reviews/)"
equal 'what it does not take goes on' v1 "$(who http://reviews/stable/1)"
check 'weftd ends cleanly' weft_stop

serves_in_spite 'an unknown field where nothing is decided' "
endpoint = resource('ClusterLoadAssignment', 'outbound|80|v1|reviews.default.svc.cluster.local')['endpoints'][0]['lb_endpoints'][0]
endpoint['metadata']['frobnication'] = {'level': 3}"
check 'it is a listed warning' grep -q 'frobnication.*Metadata' "$(weft_state)/weft.log"
check 'weftd ends cleanly' weft_stop

cp "$(weft_state)/good.yaml" "$config"
edit_config "c['pods'] = []"
weft_start "$config" || exit 1
equal 'without pods everybody is left alone' v1 "$(who "http://$(topology show ip v1)/")"
edit_config "c['pods'] = __import__('yaml').safe_load(open('$(weft_state)/good.yaml'))['pods']"
reload
check 'pods that come later are enrolled' wait_until 30 sh -c "[ \"\$('$weftctl' --control '$(weft_state)/weft.sock' status -o json | jq '.pods | length')\" = 4 ]"
equal 'and served' v1 "$(who http://reviews/stable/1)"
edit_config "c['pods'] = []"
reload
check 'pods that leave are let go' wait_until 30 sh -c "[ \"\$('$weftctl' --control '$(weft_state)/weft.sock' status -o json | jq '.pods | length')\" = 0 ]"
equal 'and left alone' v1 "$(who "http://$(topology show ip v1)/")"
check 'weftd ends cleanly' weft_stop
