#!/usr/bin/env python3
"""Requests of the pod `cli` of the e2e topology that are half sent.

  half.py FILE    on a connection each, sends half of a request's body, and the rest when FILE is there, some with another request in the same write;
                  prints one line of JSON: how many were answered, and what came instead
"""
import collections
import json
import os
import socket
import sys
import time

SCRIPT = ("10.96.0.20", 8000)
PATIENCE_S = 15
BODY = b"x" * 3000
# what the kernel carries, at once and later, and what it does not
ANSWERS = {"/sha256": None, "/delay/300": None, "/bytes/30000?chunked=1": 30000, "/bytes/3000000": 3000000}
NEXT = [b"", b"GET /bytes/100 HTTP/1.1\r\nHost: script\r\n\r\n"]


class Connection:
    def __init__(self):
        self.sock = socket.create_connection(SCRIPT, timeout=PATIENCE_S)
        self.data = b""

    def read(self, until):
        while not until():
            part = self.sock.recv(65536)
            if not part:
                raise EOFError
            self.data += part

    def line(self):
        self.read(lambda: b"\r\n" in self.data)
        line, _, self.data = self.data.partition(b"\r\n")
        return line

    def take(self, count):
        self.read(lambda: len(self.data) >= count)
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def answer(self):
        """Its status and how many bytes it has."""
        status, headers = self.line().split()[1].decode(), {}
        while line := self.line():
            name, _, value = line.lower().partition(b":")
            headers[name] = value.strip()
        if b"transfer-encoding" not in headers:
            return status, len(self.take(int(headers[b"content-length"])))
        count, size = 0, None
        while size != 0:
            size = int(self.line(), 16)
            count += len(self.take(size))
            self.line()
        return status, count


def outcome(connection, size, behind):
    try:
        status, count = connection.answer()
        if status != "200" or size not in (None, count):
            return f"{status} with {count} bytes"
        if behind and connection.answer() != ("200", 100):
            return "another answer to the request behind it"
        return "bytes behind the answer" if connection.data else "answered"
    except (TimeoutError, EOFError, ConnectionError) as error:
        return type(error).__name__


def main():
    begun = []
    for path, size in ANSWERS.items():
        for behind in NEXT:
            connection = Connection()
            connection.sock.sendall(f"POST {path} HTTP/1.1\r\nHost: script\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY[: len(BODY) // 2])
            begun.append((connection, path, size, behind))
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.05)
    for connection, _, _, behind in begun:
        connection.sock.sendall(BODY[len(BODY) // 2 :] + behind)
    results = collections.Counter()
    for connection, path, size, behind in begun:
        what = outcome(connection, size, behind)
        results[what if what == "answered" else f"{path}{' and another one' if behind else ''}: {what}"] += 1
    print(json.dumps(results))


main()
