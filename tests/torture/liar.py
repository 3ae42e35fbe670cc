#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP relay that lies now and then, to prove that the torture would notice: liar.py FAULT LISTEN:PORT TARGET:PORT

FAULT: flip (one bit of a byte), drop (some bytes), repeat (some bytes twice), stall (relays no more), reset (of both sides), cross (sends
an answer to another connection), close (says that the connection ends with an answer), none. About one in two hundred pieces relayed towards the client suffers it.
"""
import asyncio
import random
import socket
import struct
import sys

fault, (listen_host, listen_port), (target_host, target_port) = sys.argv[1], sys.argv[2].split(":"), sys.argv[3].split(":")
chance = random.Random(1)
clients = []


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def relay(reader, writer, other, lies):
    try:
        while piece := await reader.read(65536):
            target = writer
            if lies and chance.random() < 0.005:
                at = chance.randrange(len(piece))
                if fault == "flip":
                    piece = piece[:at] + bytes([piece[at] ^ 1 << chance.randrange(8)]) + piece[at + 1 :]
                elif fault == "drop":
                    piece = piece[:at] + piece[at + chance.randint(1, 100) :]
                elif fault == "repeat":
                    piece = piece[: at + 1] + piece[max(0, at - 20) :]
                elif fault == "close":
                    piece = piece.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
                elif fault == "stall":
                    await asyncio.sleep(3600)
                elif fault == "reset":
                    reset(writer)
                    reset(other)
                    return
                elif fault == "cross":
                    target = chance.choice(clients)
            target.write(piece)
            await target.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()


async def serve(reader, writer):
    clients.append(writer)
    try:
        far_reader, far_writer = await asyncio.open_connection(target_host, int(target_port))
        await asyncio.gather(relay(reader, far_writer, writer, False), relay(far_reader, writer, far_writer, True))
        far_writer.close()
    except OSError:
        pass
    finally:
        clients.remove(writer)
        writer.close()


async def main():
    server = await asyncio.start_server(serve, listen_host, int(listen_port))
    async with server:
        await server.serve_forever()


asyncio.run(main())
