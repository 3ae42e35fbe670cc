#!/usr/bin/env bash
# A blocking read sleeps until there is something to read, as plain TCP's does: also after a sender had to wait for its send buffer, and
# after it shut down its sending half. The sockmap's own reader would end some of them with EAGAIN (bpf/leave.h).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

blocking() {
	in_pod cli timeout 60 python3 "$here/blocking.py" "$@" 2>&1
}

left() {
	status_of .kernel.clients_left_sockmap
}

begin
weft_start "$config" || exit 1

equal '100 uploads of 1 MB on one connection' '100 right, 0 EAGAIN' "$(blocking upload 1000000 100)"
equal 'they fit into the send buffer: the connection may still return to the kernel' 0 "$(left)"
equal '150 uploads of 6 MB on one connection' '150 right, 0 EAGAIN' "$(blocking upload 6000000 150)"
equal 'this one has left the sockmap' 1 "$(left)"
like '20 connections that are shut down before the answer (which Envoy takes for a disconnect)' ', 0 EAGAIN$' "$(blocking half-close 100 20)"
equal 'each has left the sockmap' 21 "$(left)"
