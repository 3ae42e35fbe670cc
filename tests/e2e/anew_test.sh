#!/usr/bin/env bash
# A socket that is dissolved by connect(AF_UNSPEC) and connected anew is meshed as it was before: it keeps its cookie and its place in the sockmap.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# anew COUNT: one socket that is connected so often, with five requests on each connection; says how many answers were right.
anew() {
	in_pod cli timeout 60 python3 - "$here" "$1" <<'END' 2>&1
import ctypes, socket, struct, sys
sys.path.insert(0, sys.argv[1])
from connections import PATIENCE_S, REVIEWS, expect, request

libc = ctypes.CDLL(None, use_errno=True)
sock = socket.socket()
sock.settimeout(PATIENCE_S)
right = 0
for n in range(int(sys.argv[2])):
    if n and libc.connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16):
        sys.exit(f"connect(AF_UNSPEC): errno {ctypes.get_errno()}")
    sock.connect(REVIEWS)
    for _ in range(5):
        expect(sock, request("GET", "/stable/100B", "reviews"))
        right += 1
print(right)
END
}

begin
weft_start "$config" || exit 1
who 'http://reviews/stable/[1-3]' >/dev/null
before=$(path_count bypass)
captured=$(status_of .kernel.connections_captured)
equal '20 connections of one socket, five requests each' 100 "$(anew 20)"
equal 'each was captured' 20 "$(($(status_of .kernel.connections_captured) - captured))"
between 'the kernel carried their requests' 60 100 "$(($(path_count bypass) - before))"
equal 'none is said to have found a table full' 0 "$(status_of .kernel.connections_map_full)"
