#!/usr/bin/env python3
"""Clients that live through the death of workers, in the pod `cli` of the e2e topology.

  worker_kill.py SECONDS IN_PROXY    prints one line of JSON at the end
  worker_kill.py --keeper PID IP     kills the keeper and tells how connections fare; IP is that of a pod

The first has IN_PROXY clients whose exchanges only the proxy carries (chunked requests) and last long enough to be inside when a worker dies. Each must
end by a response or a closed connection within a time. Beside them, connections are made one after the other: for the kernel's path and for the proxy's.
The second makes connections one after the other to a pod, with a host for which a mesh asks another one: who answers tells whether it was meshed.
"""
import collections
import json
import os
import signal
import socket
import sys
import threading
import time

REVIEWS, RATINGS, SCRIPT = ("10.96.0.11", 80), ("10.96.0.14", 80), ("10.96.0.20", 8000)
DELAY_MS = 300
PATIENCE_S = 10


class Results:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.longest = collections.Counter()

    def add(self, what, outcome, seconds):
        with self.lock:
            self.counts[f"{what} {outcome}"] += 1
            self.longest[what] = max(self.longest[what], int(seconds * 1000))


def response(sock):
    """The status, or "closed" when the connection ends before the response does; and who answered."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            part = sock.recv(65536)
            if not part:
                return "closed", ""
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            part = sock.recv(65536)
            if not part:
                return "closed", ""
            body += part
    except ConnectionError:
        return "closed", ""
    except TimeoutError:
        return "hung", ""
    lines = head.decode().lower().split("\r\n")
    server = next((line.split(":")[1].strip() for line in lines if line.startswith("x-served-by:")), "")
    return lines[0].split()[1] if len(body) == length else "wrong", server


def exchange(sock, message):
    try:
        sock.sendall(message)
    except ConnectionError:
        return "closed", ""
    return response(sock)


def in_the_proxy(results, end):
    message = f"POST /delay/{DELAY_MS} HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".encode()
    sock = None
    while time.monotonic() < end:
        sock = sock or socket.create_connection(SCRIPT, timeout=PATIENCE_S)
        start = time.monotonic()
        outcome, _ = exchange(sock, message)
        results.add("in the proxy", outcome, time.monotonic() - start)
        if outcome != "200":
            sock.close()
            sock = None


def new_connections(results, end, what, address, message):
    while time.monotonic() < end:
        start = time.monotonic()
        with socket.create_connection(address, timeout=PATIENCE_S) as sock:
            outcome, _ = exchange(sock, message)
        results.add(what, outcome, time.monotonic() - start)
        time.sleep(0.01)


def live(seconds, count):
    results, end = Results(), time.monotonic() + seconds
    kernel = b"GET /healthz HTTP/1.1\r\nHost: reviews\r\n\r\n"
    proxy = b"POST /status/200 HTTP/1.1\r\nHost: script\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    threads = [threading.Thread(target=in_the_proxy, args=(results, end)) for _ in range(count)]
    threads.append(threading.Thread(target=new_connections, args=(results, end, "new to the kernel", REVIEWS, kernel)))
    threads.append(threading.Thread(target=new_connections, args=(results, end, "new to the proxy", SCRIPT, proxy)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({"counts": results.counts, "longest_ms": results.longest}))


def who_answers(ip, message):
    try:
        with socket.create_connection((ip, 80), timeout=PATIENCE_S) as sock:
            outcome, server = exchange(sock, message)
            return server or outcome
    except OSError as error:
        return str(error)


def kill_keeper(pid, ip):
    get = b"GET /100B HTTP/1.1\r\nHost: ratings\r\n\r\n"
    answers, longest_ms, last = collections.Counter(), 0, {}
    with socket.create_connection((ip, 80), timeout=PATIENCE_S) as opened:
        before = exchange(opened, get)
        start = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        while (begun := time.monotonic()) < start + 1:
            answer = who_answers(ip, get)
            now = time.monotonic()
            answers[answer] += 1
            last[answer] = int((now - start) * 1000)
            longest_ms = max(longest_ms, int((now - begun) * 1000))
        after = response(opened)
    print(json.dumps({"open": [before[1], after[0]], "answers": answers, "last_ms": last, "longest_ms": longest_ms}))


def main():
    if sys.argv[1] == "--keeper":
        kill_keeper(int(sys.argv[2]), sys.argv[3])
        return
    live(float(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
