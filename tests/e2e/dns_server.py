#!/usr/bin/env python3
"""A small DNS server: dns_server.py PORT RECORDS. RECORDS is a file that is read at each question: lines of NAME TTL ADDRESS..., or
NAME servfail; any other name does not exist."""
import socket
import struct
import sys


def name_of(packet):
    at, labels = 12, []
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode())
        at += packet[at] + 1
    return ".".join(labels).lower(), at + 5


def answer(packet, records):
    name, end = name_of(packet)
    ttl, addresses, code = 0, [], 3
    with open(records) as file:
        for line in file:
            words = line.split()
            if words and words[0] == name:
                code, ttl, addresses = (2, 0, []) if words[1] == "servfail" else (0, int(words[1]), words[2:])
    head = packet[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(addresses), 0, 0)
    return head + packet[12:end] + b"".join(struct.pack("!HHHIH", 0xC00C, 1, 1, ttl, 4) + socket.inet_aton(a) for a in addresses)


def main():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", int(sys.argv[1])))
        while True:
            packet, client = server.recvfrom(512)
            server.sendto(answer(packet, sys.argv[2]), client)


main()
