#!/usr/bin/env bash
# The stage itself: what `up` makes works, and `down` removes all of it, twice, after a crash, and without touching a neighbour.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

own=$prefix

# Everything of this test's prefixes that can be seen on the machine.
remains() {
	ls -d "/run/netns/$own"* 2>/dev/null
	find "$(dirname "$(topology show cgroup "")")/.." -maxdepth 1 -name "$own*" 2>/dev/null
	ls -d "/run/weft-topology/$own"* 2>/dev/null
	grep -o "/run/weft-topology/$own[^ ]*" /proc/mounts
	pgrep -f "/run/weft-topology/$own" 2>/dev/null
}

trap 'prefix=$own-b topology down; finish' EXIT
begin
equal 'status: all stands' 0 "$(topology status >/dev/null; echo $?)"
for pod in v1 v2 v3 ratings; do
	equal "pod $pod answers" "$pod" "$(who "http://$(topology show ip "$pod"):8080/")"
	equal "pod $pod answers on the service port" "$pod" "$(who "http://$(topology show ip "$pod")/")"
	like "pod $pod: the scripted server" "^$pod " "$(get "http://$(topology show ip "$pod"):8081/hello")"
done
equal 'files are as long as they say' '100 10240 1048576 67108864' \
	"$(for f in 100B 10KB 1MB 64MB; do client "http://$(topology show ip v1):8080/any/$f" | wc -c; done | xargs)"
equal 'exec puts the command into the cgroup' "/$own/cli" "$(in_pod cli sed -n 's/^0:://p' /proc/self/cgroup | sed "s|.*/$own/|/$own/|")"
equal 'exec hands on the status' 7 "$(in_pod cli sh -c 'exit 7'; echo $?)"
like 'nobody answers for a service address without a mesh' "Couldn't connect|No route|unreachable" "$(get http://reviews/)"
like 'render refuses a pod that is not there' 'nowhere' "$(echo 'ip: @IP_nowhere@' >"$(weft_state)/bad.in"; topology render "$(weft_state)/bad.in" 2>&1)"

(prefix=$own-b && topology up --pods 'cli v1' --subnet 10.8.0)
equal 'a second topology beside it' 10.8.0.3 "$(prefix=$own-b && topology show ip v1)"
(prefix=$own-b && topology down)
equal 'its going does not touch the first' 0 "$(topology status >/dev/null; echo $?)"

topology up
equal 'up again makes a fresh one' 0 "$(topology status >/dev/null; echo $?)"
# a crash: the script dies in the middle, and something of the pod's keeps running
in_pod cli sleep 1000 &
(prefix=$own-b && exec "$repository/tests/topology/topology.sh" up --prefix "$prefix") &
crashing=$!
sleep 0.3
kill -KILL "$crashing"
wait "$crashing" 2>/dev/null
(prefix=$own-b && topology down)
topology down
topology down
equal 'nothing remains' '' "$(remains)"
