#!/usr/bin/env python3
"""A connection of the pod `cli` of the e2e topology that is kept: a request every tenth of a second.

  kept.py FILE    until FILE is there, or the connection ends; prints how it ended: open, closed (between two answers), cut (in one) or what error, and
                  whether every answer was 200
"""
import os
import select
import socket
import sys

ADDRESS = ("10.96.0.11", 80)
PATIENCE_S = 60


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return data, "cut" if data else "closed"
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(rest) < length:
        part = sock.recv(65536)
        if not part:
            return data, "cut"
        rest += part
    return data, None


def main():
    sock = socket.create_connection(ADDRESS, timeout=PATIENCE_S)
    good = bad = 0
    how = None
    try:
        while not how and not os.path.exists(sys.argv[1]):
            sock.sendall(b"GET /stable/1 HTTP/1.1\r\nHost: reviews\r\n\r\n")
            data, how = answer(sock)
            if not how:
                good += data.startswith(b"HTTP/1.1 200 ")
                bad += not data.startswith(b"HTTP/1.1 200 ")
            if not how and select.select([sock], [], [], 0.1)[0]:
                how = "closed" if not sock.recv(1) else "bytes behind an answer"
    except OSError as error:
        how = type(error).__name__
    print(how or "open", "all good" if good and not bad else f"{good} good, {bad} bad")


main()
