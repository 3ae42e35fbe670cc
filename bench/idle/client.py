#!/usr/bin/env python3
"""client.py COUNT ADDRESS PORT HOST PATH: opens so many connections, asks once on each, prints a line, and holds them until its input ends."""
import resource
import socket
import sys


def main():
    count, address, port, host, path = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    held = []
    for _ in range(count):
        sock = socket.create_connection((address, port), timeout=20)
        sock.sendall(request)
        if b" 200 " not in sock.recv(65536).split(b"\r\n")[0]:
            sys.exit(f"no answer on connection {len(held) + 1}")
        held.append(sock)
    print("open", len(held), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
