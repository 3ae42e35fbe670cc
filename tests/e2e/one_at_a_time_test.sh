#!/usr/bin/env bash
# Servers that serve one connection after the other and close each after its answer: none waits on a connection that the mesh opened ahead.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=endpoints.sh
. "$(dirname "$0")/endpoints.sh"

port=8099

# server POD VERSION: http.server, of HTTP/1.0 or of HTTP/1.1, for one connection at a time
server() {
	in_pod "$1" timeout 120 python3 - $port "$2" >/dev/null 2>&1 <<'END' &
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, timeout = sys.argv[2], 5

    def log_message(self, *words):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

kind = http.server.HTTPServer if sys.argv[2] == "HTTP/1.0" else http.server.ThreadingHTTPServer
kind(("", int(sys.argv[1])), Handler).serve_forever()
END
	wait_until 30 listens "$1"
}

listens() {
	[ -n "$(in_pod "$1" ss -Hltn "sport = :$port")" ]
}

are_gone() {
	! listens v1 && ! listens ratings
}

end_servers() {
	local pid
	for pid in $(cat "$(topology show cgroup v1)/cgroup.procs" "$(topology show cgroup ratings)/cgroup.procs"); do
		! grep -qaz "^$port\$" "/proc/$pid/cmdline" || kill "$pid"
	done
	wait_until 30 are_gone
}

# answered COUNT: how many of so many requests, each on a connection of its own, are answered
answered() {
	local n
	for n in $(seq "$1"); do status_code --max-time 3 http://pool:8000/; done | grep -c '^200$'
}

# The same without the mesh.
answered_by() {
	local n
	for n in 1 2 3; do in_pod node curl --silent --max-time 3 --output /dev/null --write-out '%{http_code}\n' "http://$(topology show ip "$1"):$port/"; done | grep -c '^200$'
}

dials() {
	status_of .upstreams.dials
}

something_is_dialled() {
	answered 5 >/dev/null
	[ "$(dials)" -gt 0 ]
}

begin
endpoints v1 ratings
edit_config "
for group in resource('ClusterLoadAssignment', 'outbound|8000||pool.default.svc.cluster.local')['endpoints']:
    for endpoint in group['lb_endpoints']:
        endpoint['endpoint']['address']['socket_address']['port_value'] = $port"
server v1 HTTP/1.0
server ratings HTTP/1.0
weft_start "$config" || exit 1
equal 'each of 20 requests is answered, by one server on this node and one beyond the mesh' 20 "$(answered 20)"
sleep 1
equal 'none waits later, either' 20 "$(answered 20)"
equal 'nor does who asks the first one without the mesh' 3 "$(answered_by v1)"
equal 'nor the second one' 3 "$(answered_by ratings)"
equal 'nothing was dialled ahead' 0 "$(dials)"

end_servers
server v1 HTTP/1.1
server ratings HTTP/1.1
check 'a server that keeps connections gets some ahead' wait_until 30 something_is_dialled
equal 'and answers' 20 "$(answered 20)"
check 'weftd ends cleanly' weft_stop
