#!/usr/bin/env python3
"""A server that answers as the request tells it to, for e2e tests.

  GET  /bytes/N            N predictable bytes (see pattern()) with Content-Length; ?chunked=1 chunked; ?close=1 until close
  any  /sha256             reads the body whatever its framing and answers "BYTES SHA256 FRAMING\n"
  any  /echo               the request as JSON: method, path, headers in order, body bytes
  any  /status/NNN         an empty answer with that status
  any  /delay/MS           answers after so many milliseconds
  any  /hang-up            closes the connection without an answer; /hang-up/head in the middle of the head; /hang-up/body in the body
  any  /early/NNN          answers before it reads the request's body, then closes
"""
import argparse
import hashlib
import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

BLOCK = bytes((i * 7 + i // 256) & 0xFF for i in range(65536))


def pattern(count):
    """Yields `count` bytes that depend only on their offset."""
    while count > 0:
        part = BLOCK[:count]
        yield part
        count -= len(part)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    name = "?"
    timeout = 3600  # which makes its socket non-blocking: see --sleeps

    def log_message(self, format, *args):
        pass

    def handle_expect_100(self):
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def body(self):
        """Yields the request's body in parts and says in self.framing how it was framed."""
        self.framing = "none"
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.framing = "chunked"
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                left = size
                while left:
                    part = self.rfile.read(min(left, 65536))
                    if not part:
                        raise ConnectionError("body cut short")
                    left -= len(part)
                    yield part
                if size == 0:
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    return
                self.rfile.readline()
        elif "Content-Length" in self.headers:
            self.framing = "content-length"
            left = int(self.headers["Content-Length"])
            while left:
                part = self.rfile.read(min(left, 65536))
                if not part:
                    raise ConnectionError("body cut short")
                left -= len(part)
                yield part

    def head(self, status, headers=()):
        self.send_response(status)
        self.send_header("X-Served-By", self.name)
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()

    def answer(self, status, text=b"", content_type="text/plain"):
        self.head(status, [("Content-Length", str(len(text))), ("Content-Type", content_type)])
        if self.command != "HEAD":
            self.wfile.write(text)

    def discard(self):
        for _ in self.body():
            pass

    def serve(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        words = [w for w in url.path.split("/") if w]
        what = words[0] if words else ""
        if what == "sha256":
            digest, count = hashlib.sha256(), 0
            for part in self.body():
                digest.update(part)
                count += len(part)
            self.answer(200, f"{count} {digest.hexdigest()} {self.framing}\n".encode())
            return
        if what == "early":
            self.close_connection = True
            self.head(int(words[1]), [("Content-Length", "0"), ("Connection", "close")])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            return
        if what == "hang-up":
            self.hang_up(words[1] if len(words) > 1 else "")
            return
        if what == "echo":
            count = sum(len(part) for part in self.body())
            said = {"served_by": self.name, "method": self.command, "path": self.path, "headers": self.headers.items(), "body_bytes": count,
                    "framing": self.framing, "peer": self.client_address[0]}
            self.answer(200, json.dumps(said).encode() + b"\n", "application/json")
            return
        self.discard()
        if what == "bytes":
            self.send_bytes(int(words[1]), query)
        elif what == "status":
            status = int(words[1])
            self.head(status, [] if status in (204, 304) else [("Content-Length", "0")])
        elif what == "delay":
            time.sleep(int(words[1]) / 1000)
            self.answer(200, f"{self.name} waited {words[1]} ms\n".encode())
        else:
            self.answer(200, f"{self.name} {self.command} {self.headers.get('Host')} {self.path}\n".encode())

    def hang_up(self, where):
        self.close_connection = True
        if where == "head":
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
        elif where == "body":
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
        self.connection.shutdown(socket.SHUT_RDWR)

    def send_bytes(self, count, query):
        if "chunked" in query:
            self.head(200, [("Transfer-Encoding", "chunked")])
            for part in pattern(count):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        elif "close" in query:
            self.close_connection = True
            self.head(200, [("Connection", "close")])
            for part in pattern(count):
                self.wfile.write(part)
        else:
            self.head(200, [("Content-Length", str(count))])
            if self.command != "HEAD":
                for part in pattern(count):
                    self.wfile.write(part)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = serve


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, BrokenPipeError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sleeps", action="store_true", help="its reads block, as those of a program without a time-out; others poll first")
    options = parser.parse_args()
    Handler.name = options.name
    if options.sleeps:
        Handler.timeout = None
    Server(("0.0.0.0", options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
