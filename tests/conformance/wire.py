# SPDX-License-Identifier: Apache-2.0
"""HTTP/1 read from an asyncio stream as a careful observer does it: nothing is repaired, everything is written down."""
import asyncio
import hashlib

TEXT_MAX = 2000  # longer bodies are written down as hash and length, as the recordings have them


class Cut(Exception):
    """The stream ended (eof, reset) or the time was up (timeout) before a message was whole."""


class Stream:
    """Bytes of one direction, with what was read and not yet used."""

    def __init__(self, reader):
        self.reader = reader
        self.buffer = bytearray()
        self.ended = None

    async def more(self, deadline):
        """Waits for further bytes; raises Cut."""
        if self.ended:
            raise Cut(self.ended)
        left = deadline - asyncio.get_running_loop().time()
        try:
            data = await asyncio.wait_for(self.reader.read(65536), max(left, 0.001))
        except asyncio.TimeoutError:
            raise Cut("timeout") from None
        except OSError:
            self.ended = "reset"
            raise Cut("reset") from None
        if not data:
            self.ended = "eof"
            raise Cut("eof")
        self.buffer += data

    async def until(self, mark, deadline):
        """Bytes up to and with `mark`."""
        searched = 0
        while True:
            at = self.buffer.find(mark, searched)
            if at >= 0:
                return self.take(at + len(mark))
            searched = max(len(self.buffer) - len(mark) + 1, 0)
            await self.more(deadline)

    async def exactly(self, count, deadline, into=None):
        """`count` bytes; `into` gets them as they come, so that a cut body shows what was there."""
        into = bytearray() if into is None else into
        while True:
            piece = self.take(min(count, len(self.buffer)))
            into += piece
            count -= len(piece)
            if not count:
                return into
            await self.more(deadline)

    async def rest(self, deadline, into):
        """All bytes until the end of the stream."""
        while True:
            into += self.take(len(self.buffer))
            try:
                await self.more(deadline)
            except Cut as cut:
                if str(cut) == "eof":
                    return
                raise

    def take(self, count):
        piece = bytes(self.buffer[:count])
        del self.buffer[:count]
        return piece


def fields_of(lines):
    """Header lines as (name, value) in order, as they arrived but for white space around the value."""
    fields = []
    for line in lines:
        name, _, value = line.partition(":")
        fields.append([name, value.strip(" \t")])
    return fields


def head_of(data):
    lines = data.decode("latin-1").split("\r\n")
    return lines[0], fields_of(line for line in lines[1:] if line)


def values(fields, name):
    return [value for key, value in fields if key.lower() == name]


async def chunked(stream, deadline, into):
    """A chunked body into `into`; returns its trailers."""
    while True:
        line = await stream.until(b"\r\n", deadline)
        size = int(line.split(b";")[0].strip(), 16)
        if not size:
            break
        await stream.exactly(size, deadline, into)
        await stream.exactly(2, deadline)
    trailers = []
    while True:
        line = (await stream.until(b"\r\n", deadline)).decode("latin-1").rstrip("\r\n")
        if not line:
            return fields_of(trailers)
        trailers.append(line)


def is_chunked(fields):
    return [v.lower() for v in values(fields, "transfer-encoding")] == ["chunked"]


def body_as_recorded(body):
    if len(body) <= TEXT_MAX:
        return {"text": body.decode("latin-1")}
    return {"sha256": hashlib.sha256(body).hexdigest(), "length": len(body)}
