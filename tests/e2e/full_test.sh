#!/usr/bin/env bash
# Full tables cost speed, or the mesh, but never a connection: whoever finds no place is left alone or served by the proxy, and the log says
# which option makes room.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# hold COUNT ADDRESS PORT: so many connections at once, each of which asks twice; then it prints "status status ...", sorted and counted.
hold() {
	in_pod cli python3 - "$@" <<'END'
import collections, socket, sys, time
count, address, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sockets = [socket.create_connection((address, port), timeout=20) for _ in range(count)]
said = collections.Counter()
for turn in range(2):
    for s in sockets:
        s.sendall(b"GET /100B HTTP/1.1\r\nHost: reviews\r\n\r\n")
        data = b""
        while b"\r\n\r\n" not in data:
            data += s.recv(65536) or sys.exit("a connection ended")
        head, _, body = data.partition(b"\r\n\r\n")
        while len(body) < 100:
            body += s.recv(65536) or sys.exit("a connection ended")
        said[head.split()[1].decode()] += 1
    time.sleep(0.2)
print(*(f"{code}:{n}" for code, n in sorted(said.items())))
END
}

logged() {
	grep -q -e "$1" "$(weft_state)/weft.log"
}

begin
weft_start "$config" --limit connections=20,upstreams=3,pools=2,pod-connections=1K,pod-upstreams=1K,pod-pools=1K || exit 1
equal 'status tells the limits' '20 3 2' "$(status_of '.limits | "\(.connections.value) \(.upstreams.value) \(.pools.value)"')"
equal '60 connections at once, of which 20 find a place: all are served' 200:120 "$(hold 60 "$(topology show ip v1)" 80)"
equal 'the others were left alone' 40 "$(status_of .kernel.connections_map_full)"
check 'the log says so, and what to do' wait_until 30 logged 'table of connections is full: 40 .*--limit connections=N'
check 'they leave nothing behind' wait_until 30 sh -c "[ \"\$('$weftctl' --control '$(weft_state)/weft.sock' status -o json | jq .connections)\" = 0 ]"
equal 'there is room again: the next one is meshed' v1 "$(who http://reviews/stable/1)"

report=$(load 2 16 http://10.96.0.11/stable/100B)
equal "16 connections with 3 upstreams for the kernel: no error in $(requests_of "$report") requests" 0 "$(errors_of "$report")"
between 'the kernel carries what it can' 1 100000000 "$(path_count bypass)"
between 'and the proxy the rest' 1 100000000 "$(status_of '.slow_reasons.no_upstream // 0')"
for host in reviews/canary/1 ratings/ reviews/stable/1; do
	equal "more endpoints than pools: $host" 200 "$(status_code "http://$host")"
done
equal 'a fourth endpoint too' v2 "$(who -H 'end-user: jason' http://reviews/)"
check 'the log says what is full' logged 'no further upstream is dialled: .*--limit \(upstreams\|pools\)'
equal 'no worker died' 0 "$(status_of .worker.restarts)"
check 'weftd ends cleanly' weft_stop
