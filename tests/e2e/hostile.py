#!/usr/bin/env python3
"""What a pod can do that means harm to others. Runs in a pod of the e2e topology, as tests/e2e/hostile_test.sh says.

  hostile.py sink PORT                      accepts whoever comes, and says and reads nothing
  hostile.py hold COUNT ADDRESS PORT        so many connections that say nothing
  hostile.py stall COUNT ADDRESS PORT HOST PATH   so many that ask, and never read the answer
  hostile.py direct COUNT PORT              so many to the daemon's own listener in the pod
  hostile.py fast_open COUNT ADDRESS PORT HOST PATH   requests that go out with the SYN
  hostile.py reuse COUNT ADDRESS PORT HOST PATH   one source port for all, each connection reset with its answer half read
  hostile.py odd ADDRESS PORT HOST PATH OWN       sources and destinations that a pod hardly has
  hostile.py forge OWN PEER PORT SOURCE...  in a network namespace of its own: has both addresses, and connects from each of the sources

Those that hold something print a line when all is open, and hold it until their input ends. Each prints one line.
"""
import collections
import resource
import select
import socket
import struct
import sys

LINGER_0 = struct.pack("ii", 1, 0)
BATCH = 200
PATIENCE_MS = 15000


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect_batch(count, address):
    """So many sockets, connected or not: (socket, errno) of each."""
    poller, waiting, done = select.poll(), {}, []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        code = sock.connect_ex(address)
        if code == 115:  # EINPROGRESS
            waiting[sock.fileno()] = sock
            poller.register(sock, select.POLLOUT)
        else:
            done.append((sock, code))
    while waiting:
        events = poller.poll(PATIENCE_MS)
        for fd, _ in events:
            poller.unregister(fd)
            sock = waiting.pop(fd)
            done.append((sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)))
        if not events:
            done += [(sock, 110) for sock in waiting.values()]
            break
    return done


def connect_all(count, address):
    sockets, failed = [], 0
    while len(sockets) + failed < count:
        for sock, code in connect_batch(min(BATCH, count - len(sockets) - failed), address):
            if code:
                failed += 1
                sock.close()
            else:
                sockets.append(sock)
    return sockets, failed


def say(*words):
    print(*words, flush=True)


def hold_on():
    sys.stdin.read()


def request(host, path):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def status(sock):
    """Of a whole answer; 0: the connection ended before."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            return 0
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        part = sock.recv(65536)
        if not part:
            return 0
        body += part
    return int(head.split()[1]) if len(body) == length else 0


def tally(results):
    return " ".join(f"{name}:{count}" for name, count in sorted(collections.Counter(results).items()))


def sink(port):
    listener = socket.create_server(("", int(port)), backlog=4096)
    held = []
    while True:
        held.append(listener.accept()[0])


def hold(count, address, port):
    sockets, failed = connect_all(int(count), (address, int(port)))
    say("connected", len(sockets), "failed", failed)
    hold_on()


def stall(count, address, port, host, path):
    sockets, failed = connect_all(int(count), (address, int(port)))
    for sock in sockets:
        sock.setblocking(True)
        sock.sendall(request(host, path))
    poller = select.poll()
    for sock in sockets:
        poller.register(sock, select.POLLIN)
    answered = set()
    while len(answered) < len(sockets):
        events = poller.poll(PATIENCE_MS)
        for fd, _ in events:
            poller.unregister(fd)
            answered.add(fd)
        if not events:
            break
    say("answered", len(answered), "silent", len(sockets) - len(answered), "failed", failed)
    hold_on()


def direct(count, port):
    results = []
    for _ in range(int(count)):
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as sock:
            try:
                sock.sendall(request("reviews", "/"))
                results.append("answered" if sock.recv(1) else "closed")
            except ConnectionError:
                results.append("closed")
    say(tally(results))


def fast_open(count, address, port, host, path):
    results = []
    for _ in range(int(count)):
        with socket.socket() as sock:
            sock.sendto(request(host, path), socket.MSG_FASTOPEN, (address, int(port)))
            sock.settimeout(10)
            results.append(status(sock))
            sock.sendall(request(host, path))
            results.append(status(sock))
    say(tally(results))


def reuse(count, address, port, host, path):
    results = []
    for _ in range(int(count)):
        with socket.socket() as sock:
            sock.settimeout(10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
            sock.bind(("", 33333))
            sock.connect((address, int(port)))
            sock.sendall(request(host, path))
            results.append(status(sock))
            sock.sendall(request(host, path))
            sock.recv(10)
    say(tally(results))


def once(host, path, to, source=None):
    with socket.socket() as sock:
        sock.settimeout(5)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect(to)
            sock.sendall(request(host, path))
            return str(status(sock))
        except OSError as error:
            return "refused" if isinstance(error, ConnectionRefusedError) else "0" if isinstance(error, ConnectionError) else error.__class__.__name__


def odd(address, port, host, path, own):
    to = (address, int(port))
    say(" ".join(f"{name}={value}" for name, value in {
        "from_loopback": once(host, path, to, "127.0.0.1"),
        "from_127.9.9.9": once(host, path, to, "127.9.9.9"),
        "from_own": once(host, path, to, own),
        "to_own": once(host, path, (own, 80)),
        "to_127.0.0.2": once(host, path, ("127.0.0.2", 15001)),
        "to_0.0.0.0": once(host, path, ("0.0.0.0", 15001)),
    }.items()))


def forge(own, peer, port, *sources):
    listener = socket.create_server((peer, int(port)), backlog=128)
    results, held = [], []
    for source in sources:
        sock = socket.socket()
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((own, int(source)))
        sock.connect((peer, int(port)))
        held += [sock, listener.accept()[0]]
        held[-1].sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        results.append("connected")
    say(tally(results))
    hold_on()


def main():
    raise_limit()
    {f.__name__: f for f in (sink, hold, stall, direct, fast_open, reuse, odd, forge)}[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
