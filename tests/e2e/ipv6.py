#!/usr/bin/env python3
"""Sockets of IPv6, and what they say of themselves.

ipv6.py get ADDRESS PORT [--host HOST] [--only] [--bind ADDRESS]
    one request on an AF_INET6 socket; a line: status, who answered, peer, own address; or which error it was
    --only  IPV6_V6ONLY
ipv6.py serve NAME PORT       [::]:PORT for both families: answers every request with NAME and the client's address
ipv6.py hold COUNT PORT ADDRESS...
    COUNT connections of IPv6 sockets, to each address in its turn, those that are refused left out, each with an answer; prints how many, and keeps them until its
    input ends
"""
import argparse
import errno
import re
import socket
import sys
import threading


def get(options):
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(options.only))
        try:
            if options.bind:
                connection.bind((options.bind, 0))
            connection.connect((options.address, options.port))
            answers = []
            for last in (False, True):  # the second one may take the fast path
                connection.sendall(f"GET /{options.path} HTTP/1.1\r\nhost: {options.host}\r\n\r\n".encode())
                answer = b""
                while b"\r\n\r\n" not in answer:
                    got = connection.recv(65536)
                    if not got:
                        return "closed"
                    answer += got
                head, _, body = answer.partition(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
                while len(body) < length:
                    body += connection.recv(65536)
                answers.append((head.split()[1].decode(), body.decode().strip()))
            peer, own = connection.getpeername(), connection.getsockname()
            return f"{answers[-1][0]} {answers[-1][1]} peer {peer[0]} {peer[1]} own {own[0]}"
        except OSError as error:
            return errno.errorcode.get(error.errno, type(error).__name__)


def answer(connection, peer, name):
    with connection:
        connection.settimeout(600)  # no read sleeps: who sleeps in a read is not in the kernel's paths
        kept = b""
        while got := connection.recv(65536):
            kept += got
            while b"\r\n\r\n" in kept:
                kept = kept.partition(b"\r\n\r\n")[2]
                body = f"{name} from {peer[0]}\n"
                connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())


def serve(options):
    with socket.create_server(("", options.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=256) as server:
        while True:
            connection, peer = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=answer, args=(connection, peer, options.name), daemon=True).start()


def hold(options):
    held = []
    for i in range(options.count):
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        connection.settimeout(20)
        try:
            connection.connect((options.addresses[i % len(options.addresses)], options.port))
        except ConnectionRefusedError:
            continue
        connection.sendall(b"GET /100B HTTP/1.1\r\nhost: here\r\n\r\n")
        if connection.recv(65536).startswith(b"HTTP/1.1 200"):
            held.append(connection)
    print(len(held), flush=True)
    sys.stdin.read()


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("get")
    one.add_argument("address")
    one.add_argument("port", type=int)
    one.add_argument("--host", default="dual")
    one.add_argument("--path", default="")
    one.add_argument("--only", action="store_true")
    one.add_argument("--bind")
    two = commands.add_parser("serve")
    two.add_argument("name")
    two.add_argument("port", type=int)
    three = commands.add_parser("hold")
    three.add_argument("count", type=int)
    three.add_argument("port", type=int)
    three.add_argument("addresses", nargs="+")
    options = parser.parse_args()
    if options.command == "get":
        print(get(options))
    elif options.command == "serve":
        serve(options)
    else:
        hold(options)


main()
