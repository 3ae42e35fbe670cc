# SPDX-License-Identifier: Apache-2.0
"""A server that says exactly what it is told to: frames of HTTP/2, or text of HTTP/1.1, one byte at a time if need be. A script is a function
that gets the connection after the client's request has begun; each connection runs the next script of the list, and the last one again."""
import socket
import struct
import threading
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GRPC = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def message(body, length=None, flags=0):
    return struct.pack(">BI", flags, len(body) if length is None else length) + body


class Gone(Exception):
    """The client has closed."""


class Http2:
    """One connection on which the client has begun its first stream."""

    def __init__(self, sock):
        self.sock = sock
        self.got = {}           # type of frame -> how many
        self.bodies = b""       # of DATA frames
        self.resets = True      # after its end, as most servers do
        self.answers_pings = True
        self.collect = None     # bytes: what is sent is kept there instead
        if self.exactly(len(PREFACE)) != PREFACE:
            raise Gone
        self.frame(SETTINGS, 0, 0, b"")
        while not self.got.get(HEADERS):
            self.read()

    def exactly(self, size):
        out = b""
        while len(out) < size:
            part = self.sock.recv(size - len(out))
            if not part:
                raise Gone
            out += part
        return out

    def read(self):
        """One frame."""
        head = self.exactly(9)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        body = self.exactly(size)
        self.got[kind] = self.got.get(kind, 0) + 1
        if kind == DATA:
            self.bodies += body
            if size:
                for stream in (0, 1):
                    self.frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size))
        elif kind == SETTINGS and not flags & ACK:
            self.frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK and self.answers_pings:
            self.frame(PING, ACK, 0, body)
        return kind

    def read_for(self, seconds):
        """What comes in that time; does the client stay?"""
        end = time.monotonic() + seconds
        try:
            while True:
                left = end - time.monotonic()
                if left <= 0:
                    return True
                self.sock.settimeout(left)
                self.read()
        except TimeoutError:
            return True
        except (Gone, OSError):
            return False
        finally:
            self.sock.settimeout(None)

    def read_message(self):
        """The next message of the client, without its prefix."""
        while len(self.bodies) < 5 or len(self.bodies) < 5 + int.from_bytes(self.bodies[1:5], "big"):
            self.read()
        size = int.from_bytes(self.bodies[1:5], "big")
        out, self.bodies = self.bodies[5:5 + size], self.bodies[5 + size:]
        return out

    def frame(self, kind, flags, stream, body):
        frame = len(body).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + body
        if self.collect is None:
            self.sock.sendall(frame)
        else:
            self.collect += frame

    def headers(self, fields, end=False, stream=1):
        block = b"".join(b"\0" + bytes([len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in fields)
        self.frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)
        self.ended(end, stream)

    def data(self, body, end=False, stream=1):
        for at in range(0, max(len(body), 1), 16384):
            self.frame(DATA, END_STREAM if end and at + 16384 >= len(body) else 0, stream, body[at:at + 16384])
        self.ended(end, stream)

    def ended(self, end, stream):
        """Servers that answer to the end while the client's half is open reset that: grpc-go, grpc's core, Envoy."""
        if end and self.resets:
            self.reset(0, stream)

    def reset(self, code, stream=1):
        self.frame(RST_STREAM, 0, stream, struct.pack(">I", code))

    def goaway(self, code, last=1, text=b""):
        self.frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


class Http1:
    """One connection on which the client's head has come."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""
        self.head = b""
        while b"\r\n\r\n" not in self.rest:
            self.more()
        self.head, self.rest = self.rest.split(b"\r\n\r\n", 1)

    def more(self):
        part = self.sock.recv(65536)
        if not part:
            raise Gone
        self.rest += part

    def read_chunk(self):
        while b"\r\n" not in self.rest:
            self.more()
        size, self.rest = self.rest.split(b"\r\n", 1)
        while len(self.rest) < int(size, 16) + 2:
            self.more()
        out, self.rest = self.rest[:int(size, 16)], self.rest[int(size, 16) + 2:]
        return out

    def send(self, text):
        self.sock.sendall(text)

    def chunk(self, body):
        self.send(b"%x\r\n" % len(body) + body + b"\r\n")


class Server:
    """Listens on 127.0.0.1 (or `port` again, after a pause) until it is left."""

    def __init__(self, *scripts, kind=Http2, port=0, wrap=None):
        self.scripts, self.kind, self.wrap = scripts, kind, wrap
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        self.times = []         # of connections
        self.open = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.times.append(time.monotonic())
            self.open.append(sock)
            script = self.scripts[min(len(self.times), len(self.scripts)) - 1]
            threading.Thread(target=self.serve, args=(sock, script), daemon=True).start()

    def serve(self, sock, script):
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.wrap:
                sock = self.wrap(sock)
            script(self.kind(sock) if self.kind else sock)
        except (Gone, OSError):
            pass
        finally:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # close() alone would leave accept() where it is
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
