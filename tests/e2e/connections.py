#!/usr/bin/env python3
"""Opens connections one after the other, each of another kind, and ends each in its own way.

  connections.py COUNT ADDRESS [KIND...]

Runs in the pod `cli` of the e2e topology; ADDRESS is that of a pod with nginx. Prints one line of JSON: how many of each kind, and what was wrong.

Kinds that end well check what they got; those that cut their connection only go on with the next one.
"""
import itertools
import json
import random
import socket
import struct
import sys

REVIEWS, RATINGS, SCRIPT = ("10.96.0.11", 80), ("10.96.0.14", 80), ("10.96.0.20", 8000)
LINGER_0 = struct.pack("ii", 1, 0)
PATIENCE_S = 20


class Wrong(Exception):
    pass


def connect(address):
    return socket.create_connection(address, timeout=PATIENCE_S)


def request(method, path, host, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def response(sock):
    """Reads one whole response with a Content-Length; returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            raise Wrong(f"the connection ended after {len(data)} bytes of a head")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next(int(l.split(":")[1]) for l in lines if l.lower().startswith("content-length:"))
    left = length - len(body)
    while left > 0:
        part = sock.recv(min(left, 1 << 20))
        if not part:
            raise Wrong(f"the connection ended {left} bytes before the end of a body")
        left -= len(part)
    if left:
        raise Wrong(f"{-left} bytes too many")
    return int(lines[0].split()[1])


def expect(sock, message, status=200):
    sock.sendall(message)
    got = response(sock)
    if got != status:
        raise Wrong(f"status {got} and not {status}")


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    sock.close()


def until_end(sock):
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionError:
        pass


def bypass():
    with connect(REVIEWS) as sock:
        for _ in range(3):
            expect(sock, request("GET", "/stable/100B", "reviews"))


def remote():
    with connect(RATINGS) as sock:
        for _ in range(3):
            expect(sock, request("GET", "/100B", "ratings"))


def local_reply():
    with connect(REVIEWS) as sock:
        for _ in range(2):
            expect(sock, request("GET", "/healthz", "reviews"))


def proxied():
    with connect(SCRIPT) as sock:
        expect(sock, request("POST", "/sha256", "script", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n")
        expect(sock, request("GET", "/hello", "script"))


def last_request():
    with connect(REVIEWS) as sock:
        expect(sock, request("GET", "/stable/100B", "reviews", "Connection: close"))
        until_end(sock)


def half_closed():
    with connect(REVIEWS) as sock:
        expect(sock, request("GET", "/stable/100B", "reviews"))
        sock.sendall(request("GET", "/stable/10KB", "reviews"))
        sock.shutdown(socket.SHUT_WR)
        until_end(sock)


def not_http():
    with connect((sys.argv[2], 80)) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        until_end(sock)


def server_hangs_up():
    for where in ("", "/head"):
        with connect(SCRIPT) as sock:
            sock.sendall(request("GET", "/hang-up" + where, "script"))
            if response(sock) < 500:
                raise Wrong("an answer of a server that gave none")
    with connect(SCRIPT) as sock:
        sock.sendall(request("GET", "/hang-up/body", "script"))
        until_end(sock)


def client_hangs_up():
    with connect(SCRIPT) as sock:
        sock.sendall(request("GET", "/delay/200", "script"))


def client_resets():
    sock = connect(SCRIPT)
    sock.sendall(request("GET", "/delay/50", "script"))
    reset(sock)


def cut_stream():
    sock = connect(REVIEWS)
    sock.sendall(request("GET", "/stable/64MB", "reviews"))
    sock.recv(65536)
    random.choice([reset, socket.socket.close])(sock)


def cut_in_redirected_body():
    sock = connect(REVIEWS)
    sock.sendall(request("GET", "/stable/1MB", "reviews"))
    sock.recv(1000)
    random.choice([reset, socket.socket.close])(sock)


def cut_upload():
    # Not to nginx: whom a reset finds throwing a body away goes on waiting for requests on that connection (keepalive_timeout).
    sock = connect(SCRIPT)
    sock.sendall(request("POST", "/sha256", "script", "Content-Length: 1000000") + b"x" * 10000)
    random.choice([reset, socket.socket.close])(sock)


def partial_head():
    with connect(REVIEWS) as sock:
        sock.sendall(b"GET /stable/100B HTTP/1.1\r\nHost: rev")


def silent():
    random.choice([reset, socket.socket.close])(connect(REVIEWS))


KINDS = [bypass, remote, local_reply, proxied, last_request, half_closed, not_http, server_hangs_up, client_hangs_up, client_resets, cut_stream,
         cut_in_redirected_body, cut_upload, partial_head, silent]
CONNECTIONS = {server_hangs_up: 3}


def main():
    count, wanted = int(sys.argv[1]), sys.argv[3:]
    kinds = [k for k in KINDS if not wanted or k.__name__ in wanted]
    random.seed(1)
    done, wrong = {k.__name__: 0 for k in kinds}, []
    total = 0
    for kind in itertools.cycle(kinds):
        if total >= count:
            break
        try:
            kind()
        except (OSError, Wrong, StopIteration, ValueError) as error:
            wrong.append(f"{kind.__name__}: {type(error).__name__} {error}")
        done[kind.__name__] += 1
        total += CONNECTIONS.get(kind, 1)
    print(json.dumps({"connections": total, "kinds": done, "wrong": len(wrong), "first_wrong": wrong[:5]}))


if __name__ == "__main__":
    main()
