#!/usr/bin/env python3
"""A client with one thread and a blocking socket, as most simple programs are: every read must sleep until there is something to read.

  blocking.py upload SIZE COUNT      COUNT uploads of SIZE bytes on one connection
  blocking.py begins SIZE COUNT      the same on a socket that is non-blocking until it is connected, as one with a time-out for that
  blocking.py half-close MS COUNT    COUNT connections that send a request, shut down their sending half, and read; the answer would take MS

Runs in the pod `cli` of the e2e topology. Prints how many answers were right, and how many reads ended with EAGAIN.
"""
import collections
import socket
import sys

SCRIPT = ("10.96.0.20", 8000)
seen = collections.Counter(right=0, EAGAIN=0)


def read(sock):
    while True:
        try:
            return sock.recv(65536)
        except BlockingIOError:
            seen["EAGAIN"] += 1


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        part = read(sock)
        if not part:
            return
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(rest) < length:
        part = read(sock)
        if not part:
            return
        rest += part
    seen["right"] += head.startswith(b"HTTP/1.1 200 ")


def upload(size, count, timeout=None):
    body = bytes(size)
    with socket.create_connection(SCRIPT, timeout) as sock:
        sock.settimeout(None)
        for _ in range(count):
            sock.sendall(b"POST /sha256 HTTP/1.1\r\nHost: script\r\nContent-Length: %d\r\n\r\n" % size)
            sock.sendall(body)
            answer(sock)


def half_close(delay_ms, count):
    for _ in range(count):
        with socket.create_connection(SCRIPT) as sock:
            sock.sendall(b"POST /delay/%d HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" % delay_ms)
            sock.shutdown(socket.SHUT_WR)
            answer(sock)


def begins(size, count):
    upload(size, count, 5)


{"upload": upload, "begins": begins, "half-close": half_close}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
print(f"{seen['right']} right, {seen['EAGAIN']} EAGAIN")
