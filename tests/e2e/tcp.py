#!/usr/bin/env python3
"""Both ends of connections that are not HTTP.

tcp.py serve NAME             port 7000: answers what comes with NAME and what it was; port 7001: says NAME before anything comes
tcp.py ask ADDRESS PORT ...   one connection a line of output: what came back, or what went wrong
    --sni NAME    begins with a ClientHello for NAME;  --text TEXT  begins with TEXT;  without either the server is to begin
    --peers       says the peer's and the own address too;  --count N  so many connections, one after the other
tcp.py hold ADDRESS PORT COUNT   opens so many, says so, and keeps them until its standard input ends
"""
import argparse
import contextlib
import socket
import ssl
import sys
import threading


def answer(connection, name, begins):
    with connection, contextlib.suppress(ConnectionError):
        if begins:
            connection.sendall(name.encode() + b"\n")
        while got := connection.recv(65536):
            kind = "tls" if got[0] == 22 else got.decode(errors="replace").strip()
            connection.sendall(f"{name} {kind}\n".encode())


def listen(name, port, begins):
    with socket.create_server(("", port), backlog=256) as server:
        while True:
            threading.Thread(target=answer, args=(server.accept()[0], name, begins), daemon=True).start()


def hello(name):
    context, into, out = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(into, out, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def ask(options):
    first = hello(options.sni) if options.sni else options.text.encode() if options.text else b""
    try:
        with socket.create_connection((options.address, options.port), timeout=10) as connection:
            connection.sendall(first)
            line = connection.recv(4096).decode(errors="replace").strip() or "closed"
            if options.peers:
                line += " peer {}:{} own {}".format(*connection.getpeername(), connection.getsockname()[0])
            return line
    except OSError as error:
        return type(error).__name__


def hold(options):
    kept = [socket.create_connection((options.address, options.port), timeout=10) for _ in range(options.count)]
    for connection in kept:  # until the server has said that it has it
        connection.sendall(b"x")
        connection.recv(4096)
    print("held", flush=True)
    sys.stdin.read()


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve")
    serve.add_argument("name")
    for name in "ask", "hold":
        one = commands.add_parser(name)
        one.add_argument("address")
        one.add_argument("port", type=int)
    commands.choices["hold"].add_argument("count", type=int)
    one = commands.choices["ask"]
    one.add_argument("--sni")
    one.add_argument("--text")
    one.add_argument("--peers", action="store_true")
    one.add_argument("--count", type=int, default=1)
    options = parser.parse_args()
    if options.command == "serve":
        threading.Thread(target=listen, args=(options.name, 7000, False), daemon=True).start()
        listen(options.name, 7001, True)
    elif options.command == "hold":
        hold(options)
    else:
        for _ in range(options.count):
            print(ask(options), flush=True)


main()
