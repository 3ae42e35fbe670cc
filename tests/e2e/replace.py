#!/usr/bin/env python3
"""Clients on connections of their own, in the pod `cli` of the e2e topology, while one weftd replaces another.

  replace.py SECONDS DELAY_MS...    one client for each DELAY_MS; prints one line of JSON at the end

Each sends chunked requests, which only the proxy carries, one after the other on one connection; the server answers after DELAY_MS. In turn with
them it sends requests that the kernel carries. Every one must be answered, and the connection must stay.
"""
import collections
import json
import socket
import sys
import threading
import time

SCRIPT = ("10.96.0.20", 8000)
PATIENCE_S = 15


def response(sock, buffered):
    data = buffered
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return "closed", b""
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(rest) < length:
        part = sock.recv(65536)
        if not part:
            return "closed", b""
        rest += part
    return head.split()[1].decode(), rest[length:]


def client(delay_ms, end, results, lock):
    by_proxy = f"POST /delay/{delay_ms} HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode()
    by_kernel = b"GET /status/200 HTTP/1.1\r\nHost: script\r\n\r\n"
    sock, number, longest = None, 0, 0
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            if not sock:
                sock = socket.create_connection(SCRIPT, timeout=PATIENCE_S)
                with lock:
                    results[f"{delay_ms} connections"] += 1
            sock.sendall(by_kernel if number % 2 else by_proxy)
            outcome, rest = response(sock, b"")
            if rest:
                outcome = "bytes behind the answer"
        except TimeoutError:
            outcome = "hung"
        except ConnectionError as error:
            outcome = type(error).__name__
        number += 1
        longest = max(longest, time.monotonic() - start)
        with lock:
            results[f"{delay_ms} {outcome}"] += 1
        if outcome != "200":
            sock.close()
            sock = None
    with lock:
        results[f"{delay_ms} longest_ms"] = int(longest * 1000)


def main():
    results, lock = collections.Counter(), threading.Lock()
    end = time.monotonic() + float(sys.argv[1])
    threads = [threading.Thread(target=client, args=(int(delay), end, results, lock)) for delay in sys.argv[2:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps(results))


main()
