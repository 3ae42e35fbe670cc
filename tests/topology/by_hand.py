#!/usr/bin/env python3
"""A TCP server by hand, for what no kernel sends when one wants it: answers each request with the alphabet, the second half of it in a segment that
begins a number of bytes before the end of the first, as retransmissions in other pieces do.

  by_hand.py ADDRESS PORT BYTES-TWICE

Needs a raw socket, and that nobody listens on the port; the kernel's own resets have to be kept back (nft).
"""
import socket
import struct
import sys
import time

ADDRESS, PORT, TWICE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
FIN, SYN, PSH, ACK = 1, 2, 8, 16
BODY = b"abcdefghijklmnopqrstuvwxyz" * 300
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Connection:
    def __init__(self, raw, peer, expected):
        self.raw, self.peer, self.sent, self.expected = raw, peer, 1000, expected

    def send(self, flags, data=b"", before=0):
        """`before`: so many bytes before what was sent last."""
        options = struct.pack("!BBH", 2, 4, 1460) if flags & SYN else b""
        head = struct.pack("!HHIIBBHHH", PORT, self.peer[1], self.sent - before & 0xFFFFFFFF, self.expected & 0xFFFFFFFF, (20 + len(options)) // 4 << 4, flags,
                           64000, 0, 0) + options
        addresses = socket.inet_aton(ADDRESS) + socket.inet_aton(self.peer[0])
        sum_of_all = checksum(addresses + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head) + len(data)) + head + data)
        self.raw.sendto(head[:16] + struct.pack("!H", sum_of_all) + head[18:] + data, (self.peer[0], 0))
        self.sent += len(data) - before + bool(flags & (SYN | FIN))

    def answer(self):
        pieces = [ANSWER[at:at + 1400] for at in range(0, len(ANSWER), 1400)]
        self.send(ACK | PSH, pieces[0])
        for n, piece in enumerate(pieces[1:]):
            time.sleep(0.005)
            self.send(ACK | PSH, pieces[n][len(pieces[n]) - TWICE:] + piece, before=TWICE)


def main():
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.bind((ADDRESS, 0))
    connections = {}
    while True:
        packet, (source, _) = raw.recvfrom(65535)
        at = (packet[0] & 15) * 4
        source_port, port, seq, _, offset, flags = struct.unpack("!HHIIBB", packet[at:at + 14])
        data = packet[at + (offset >> 4) * 4:]
        if port != PORT:
            continue
        peer = (source, source_port)
        if flags & SYN:
            connections[peer] = Connection(raw, peer, seq + 1)
            connections[peer].send(SYN | ACK)
            continue
        connection = connections.get(peer)
        if not connection or (data and seq != connection.expected & 0xFFFFFFFF):
            continue
        connection.expected += len(data)
        if flags & FIN:
            connection.expected += 1
            connection.send(FIN | ACK)
            connections.pop(peer)
        elif data:
            connection.answer()


main()
