#!/usr/bin/env bash
# weftd --replace: a newer, the same and an older build take over one after the other, and nobody notices: not who is served by the kernel, not whose
# exchange is in the proxy, however long it takes. What can't take over changes nothing, and one that is killed at any step of it neither.
#
# Takes a minute.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

next=$build/next/weftd
seconds=14

# replaced BY WHAT: and the former one ends by itself, with status 0.
replaced() {
	local code=0 start=${EPOCHREALTIME/./}
	weftd=$1
	if ! weft_replace "$config"; then
		failed "$2 takes over"
		return
	fi
	passed "$2 takes over"
	formers+=("$weft_former")
	echo "        after $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
}

under_load() {
	local state said former code clients=()
	state=$(weft_state)
	load 1 8 http://10.96.0.11/stable/100B >/dev/null
	load 1 8 http://10.96.0.14/100B >/dev/null
	load "$seconds" 64 http://10.96.0.11/stable/100B --timeout 8s >"$state/bypass.json" &
	clients+=($!)
	load "$seconds" 8 http://10.96.0.14/100B --timeout 8s >"$state/remote.json" &
	clients+=($!)
	in_pod cli python3 "$here/replace.py" "$seconds" 1 5 20 50 200 700 2500 >"$state/clients.json" &
	clients+=($!)
	# a stream of the proxy's own, and one whose request the kernel carried: both outlive a replacement or two
	client --limit-rate 8M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' http://reviews/stable/64MB 2>"$state/stream" >/dev/null &
	clients+=($!)
	client --limit-rate 2M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' 'http://script:8000/bytes/12000000?chunked=1' 2>"$state/relayed" >/dev/null &
	clients+=($!)
	sleep 1.5
	formers=()
	replaced "$next" 'a newer weftd'
	like 'it is the newer one' '[+]next' "$(status_of .version)"
	sleep 1
	replaced "$next" 'the same weftd'
	sleep 1
	replaced "$build/weftd" 'an older weftd'
	equal 'it is the older one' "$(cat "$repository/VERSION")" "$(status_of .version)"
	wait "${clients[@]}"

	for said in bypass remote; do
		equal "$said: no error in $(requests_of "$(cat "$state/$said.json")") requests" '{}' "$(jq -c '.errors | with_entries(select(.value != 0))' "$state/$said.json")"
	done
	cat "$state/clients.json"
	equal 'exchanges in the proxy: all are answered' '[]' "$(jq -c '[keys[] | select(test("200$|connections|longest") | not)]' "$state/clients.json")"
	equal 'exchanges in the proxy: each on the connection that it had' '[1]' "$(jq -c '[to_entries[] | select(.key | test("connections")).value] | unique' "$state/clients.json")"
	between 'exchanges in the proxy: none waits long (ms)' 0 2000 "$(jq '[to_entries[] | select(.key | test("^(1|5|20|50) longest")).value] | max' "$state/clients.json")"
	equal 'a stream in the proxy arrives whole' '200 0 67108864' "$(cat "$state/stream")"
	equal 'a relayed response arrives whole' '200 0 12000000' "$(cat "$state/relayed")"
	for former in "${formers[@]}"; do
		check 'a former weftd ends when nothing is left to it' wait_until 30 is_over "$former"
		code=0
		wait "$former" || code=$?
		equal 'with status 0' 0 "$code"
	done
	equal 'one keeper and one worker are left' 2 "$(weft_processes | wc -l)"
	check 'and serve' serves
}

are_lent() {
	[ "$(status_of .upstreams.lent)" -ge "$1" ]
}

# Bodies that the kernel has sent to their half: it goes on with them, whoever takes the answers.
half_sent() {
	local sender enough=$(weft_state)/enough
	rm -f "$enough"
	load 1 16 http://10.96.0.20:8000/bytes/100 >/dev/null # so that there are upstreams to lend
	in_pod cli python3 "$here/half.py" "$enough" >"$(weft_state)/half.json" &
	sender=$!
	check 'bodies half sent: the kernel sends them' wait_until 30 are_lent 8
	weftd=$next
	check 'bodies half sent: another one takes over' weft_replace "$config"
	touch "$enough"
	wait "$sender"
	equal 'bodies half sent: all are answered, and what is asked behind them' '{"answered": 8}' "$(cat "$(weft_state)/half.json")"
}

refuses() {
	local what=$1 pattern=$2 pid worker
	shift 2
	worker=$(status_of .worker.pid)
	if weft_replace "$@" 2>/dev/null; then
		failed "$what: it does not take over"
		return
	fi
	passed "$what: it does not take over"
	like "$what: it says why" "$pattern" "$(tail -n 6 "$(weft_state)/weft.log")"
	equal "$what: the worker is the same" "$worker" "$(status_of .worker.pid)"
	check "$what: and serves" serves
}

# The new one is killed at a step: the old one goes on, with a worker that takes up what was given away already.
killed_at() {
	local said
	export WEFT_STOP_AT=$1 WEFT_STOPPED
	WEFT_STOPPED=$(weft_state)/stopped
	rm -f "$WEFT_STOPPED"
	in_pod cli python3 "$here/replace.py" 3 20 1500 >"$(weft_state)/clients.json" &
	said=$!
	sleep 0.5
	weftd=$next
	weft_replace "$config" >/dev/null 2>&1
	export WEFT_STOP_AT=
	check "killed at \"$1\": it got there" test -e "$WEFT_STOPPED"
	wait "$said"
	equal "killed at \"$1\": every short exchange is answered" '[]' "$(jq -c '[keys[] | select(test("^20 ")) | select(test("200$|connections|longest") | not)]' "$(weft_state)/clients.json")"
	equal "killed at \"$1\": a long one is answered, if only by an error, or cut" '[]' "$(jq -c '[keys[] | select(test("hung|bytes"))]' "$(weft_state)/clients.json")"
	check "killed at \"$1\": the old one serves" serves
}

# gives_up WHAT PATTERN [options of weftd...]: it finds out only when it has all.
gives_up() {
	local what=$1 pattern=$2 mode
	shift 2
	mode=$(status_of .fast_path)
	if weft_replace "$config" "$@" 2>/dev/null; then
		failed "$what: it does not take over"
		return
	fi
	passed "$what: it does not take over"
	like "$what: it says why" "$pattern" "$(tail -n 40 "$(weft_state)/weft.log")"
	check "$what: the one before serves" wait_until 30 serves
	equal "$what: as it did before" "$mode" "$(status_of .fast_path)"
}

# Each of many connections, which are idle meanwhile, carries a request afterwards.
many_connections() {
	local soft clients
	in_pod cli python3 -c '
import socket, sys, time
socks = [socket.create_connection(("10.96.0.11", 80), timeout=10) for _ in range(400)]
time.sleep(float(sys.argv[1]))
good = 0
for sock in socks:
    try:
        sock.sendall(b"GET /stable/1 HTTP/1.1\r\nHost: reviews\r\n\r\n")
        good += sock.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        pass
print(good)' 8 >"$(weft_state)/many" &
	clients=$!
	sleep 1.5
	soft=$(ulimit -S -n)
	ulimit -S -n 200
	weftd=$next
	check 'more descriptors than a process may have by default: it takes over' weft_replace "$config"
	ulimit -S -n "$soft"
	wait "$clients"
}

# One that asks for everything, and then does nothing.
hanging_successor() {
	local code=0
	timeout 60 python3 -c '
import socket, struct, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect(sys.argv[1])
s.send(struct.pack("<IIQQ", 1, 0, 0, 0))
s.recv(65536)
s.send(struct.pack("<IIQQ", 3, 0, 0, 0))
while s.recv(65536):
    pass' "$(weft_state)/weft.sock.replace" || code=$?
	equal 'one that hangs with all that it was given is killed' 137 "$code"
	check 'and the one before serves' wait_until 30 serves
}

# The worker of the old one is killed when it has given all away: the new one has it, and no other worker of the old one begins.
old_worker_is_killed() {
	local former code=0
	export WEFT_STOP_AT='replace: all handed over' WEFT_STOP_ALONE=1 WEFT_STOPPED
	WEFT_STOPPED=$(weft_state)/stopped
	rm -f "$WEFT_STOPPED"
	weftd=$next
	weft_replace "$config" >/dev/null
	export -n WEFT_STOP_AT WEFT_STOP_ALONE
	former=$weft_pid
	check 'the old worker is killed when it has given all away: the new one takes over' weft_replace "$config"
	check 'it got there' test -e "$WEFT_STOPPED"
	wait "$former" || code=$?
	equal 'the old one ends, with status 0' 0 "$code"
	check 'the new one serves' serves
	WEFT_STOP_AT=
}

begin
weft_start "$config" --replace || exit 1
like '--replace without one that runs: it starts' 'there is no weftd to replace' "$(cat "$(weft_state)/weft.log")"
check 'and serves' serves
under_load
half_sent

load 6 8 http://10.96.0.11/stable/100B >"$(weft_state)/bypass.json" &
loading=$!
sleep 1
weft_replace "$config" --cgroup "$(topology show cgroup daemon)/other"
check 'a weftd in another cgroup takes over' test -d "$(topology show cgroup daemon)/other"
check 'the former cgroup is gone' wait_until 30 test ! -d "$(topology show cgroup daemon)/weft"
wait "$loading"
equal "no error in $(requests_of "$(cat "$(weft_state)/bypass.json")") requests meanwhile" 0 "$(errors_of "$(cat "$(weft_state)/bypass.json")")"
between 'no former upstream is used any more' 8 1000 "$(status_of '.upstreams.closes.adoption')"
weft_replace "$config"

weftd=$next
echo 'pods: [' >"$(weft_state)/bad.yaml"
refuses 'a bad file' 'bad.yaml' "$(weft_state)/bad.yaml"
refuses 'another folder of pins' 'give this one that one.s --bpffs' "$config" --bpffs "$(weft_state)/bpffs/other"
refuses 'other sizes of tables' 'limit' "$config" --limit connections=1000
refuses 'less features' 'fionread_mend' "$config" --disable fionread_mend
gives_up 'a cgroup that can not be made' 'could not take over' --cgroup "$(topology show cgroup daemon)/none/such" --fast-path off
gives_up 'an address that is not of this machine' 'could not take over' --health-address 192.0.2.1:15021
many_connections
equal 'each of 400 connections goes on' 400 "$(cat "$(weft_state)/many")"
old_worker_is_killed

load 6 8 http://10.96.0.14/100B >"$(weft_state)/remote.json" &
loading=$!
client --limit-rate 2M --write-out '%{stderr}%{http_code} %{exitcode} %{size_download}\n' 'http://script:8000/bytes/6000000?chunked=1' 2>"$(weft_state)/relayed" >/dev/null &
relaying=$!
sleep 1
check 'one without fast path takes over' weft_replace "$config" --fast-path off
sleep 1
check 'one with it takes over' weft_replace "$config"
wait "$loading" "$relaying"
equal "no error in $(requests_of "$(cat "$(weft_state)/remote.json")") requests meanwhile" 0 "$(errors_of "$(cat "$(weft_state)/remote.json")")"
equal 'and a relayed response arrives whole' '200 0 6000000' "$(cat "$(weft_state)/relayed")"
hanging_successor

for step in 'replace: programs loaded' 'replace: a program pinned' 'replace: ready' 'replace: descriptors taken' 'replace: a program in force' \
	'worker: pool and proxy made' 'replace: takes over'; do
	killed_at "$step"
done
replaced "$next" 'after all that, a weftd'
check 'and serves' serves
check 'it ends cleanly' weft_stop
equal 'nothing is left' '' "$(weft_left)"
