#!/usr/bin/env bash
# A blocking read sleeps until there is something to read, as plain TCP's does. The sockmap's own reader would end some of them with EAGAIN, so
# who reads so stays out of it (bpf/blocking.h).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

blocking() {
	in_pod cli timeout 60 python3 "$here/blocking.py" "$@" 2>&1
}

kernel() {
	status_of ".kernel.$1"
}

begin
(in_pod v1 python3 "$here/../topology/script_server.py" --name v1 --port 8082 --sleeps </dev/null >/dev/null 2>&1 &)
sed "s/\(address: $(topology show ip v1), port_value: \)8081/\18082/" "$config" >"$(weft_state)/sleeps.yaml"
weft_start "$(weft_state)/sleeps.yaml" || exit 1

equal '100 uploads of 1 MB on one connection' '100 right, 0 EAGAIN' "$(blocking upload 1000000 100)"
equal '150 uploads of 6 MB on one connection' '150 right, 0 EAGAIN' "$(blocking upload 6000000 150)"
like '20 connections that are shut down before the answer (which Envoy takes for a disconnect)' ', 0 EAGAIN$' "$(blocking half-close 100 20)"
equal 'none of them was in the sockmap' 22 "$(kernel clients_blocking)"
equal 'a client that begins to sleep after its first answer' '200 right, 0 EAGAIN' "$(blocking begins 10000 200)"
equal 'its connection leaves the sockmap' 1 "$(kernel clients_left_sockmap)"

# The server sleeps in its reads too; curl does not.
urls=()
for _ in $(seq 100); do
	urls+=(http://script:8000/bytes/1000)
done
# many_requests: the answers of 100 requests on one connection
many_requests() {
	in_pod cli curl --silent --connect-to script::10.96.0.20: --write-out '%{stderr}%{http_code}\n' "${urls[@]}" 2>"$(weft_state)/codes" >/dev/null
	grep -c '^200$' "$(weft_state)/codes"
}
equal '100 requests on one connection of a client that polls' 100 "$(many_requests)"
sleep 0.2
equal 'and 100 more' 100 "$(many_requests)"
sleep 1
before=$(status_of .requests.remote)
equal 'and 100 more' 100 "$(many_requests)"
between 'an upstream or more was given up' 1 20 "$(kernel servers_blocking)"
between 'the last requests were sent by TCP' 80 100 "$(($(status_of .requests.remote) - before))"
between 'what was put in the queue of a server that sleeps came before its first read' 0 5 "$(status_of .requests.bypass)"
