# SPDX-License-Identifier: Apache-2.0
"""The servers of a pod: they write down what reaches them and answer as the topic's config.yaml says.

A cluster's `backend` is `echo` (the request as JSON), a word (close, rst, hang, close_on_accept, refuse), or a list of answers: the first for
the first request in a case, and so on; the last repeats. An answer is a word, {word: true}, or {raw: bytes, at_head: before the body is read,
then: fin, rst or tunnel}.
"""
import asyncio
import hashlib
import json
import socket
import struct

from vectors import latin1
from wire import Cut, Stream, chunked, head_of, is_chunked, values

NEVER = 3600.0


class Backends:
    """Listens on every port that a topic's endpoints use. `record` is the list of the case that is running."""

    def __init__(self):
        self.servers = {}
        self.clusters = {}
        self.places = {}
        self.record = []
        self.answered = {}
        self.bodies = []
        self.tasks = set()

    async def serve(self, topic_config, endpoints):
        """Takes a topic's clusters in place of those before."""
        self.clusters = {c["name"]: c for c in topic_config.get("clusters", [])}
        self.places = {}
        for name, addresses in endpoints.items():
            refused = self.clusters.get(name, {}).get("refused_endpoints", [])
            for index, address in enumerate(addresses):
                if self.clusters.get(name, {}).get("backend") != "refuse" and index not in refused:
                    host, port = address.rsplit(":", 1)
                    self.places[host, int(port)] = (name, index)
        ports = {port for _, port in self.places}
        for port in set(self.servers) - ports:
            self.servers.pop(port).close()
        for port in ports - set(self.servers):
            self.servers[port] = await asyncio.start_server(self.accepted, "0.0.0.0", port, backlog=256, limit=1 << 22)

    def drop(self):
        """Closes what is open: another topic's clusters may have the same addresses."""
        for task in list(self.tasks):
            task.cancel()

    def begin(self):
        """A new case: its requests are written down from here on."""
        self.record, self.answered, self.bodies = [], {}, []
        return self.record

    def answer_of(self, cluster):
        """What the next request to the cluster gets, of the answers in turn."""
        backend = self.clusters.get(cluster, {}).get("backend", "echo")
        if isinstance(backend, str):
            return {backend: True}
        turn = self.answered.get(cluster, 0)
        self.answered[cluster] = turn + 1
        answer = backend[min(turn, len(backend) - 1)]
        return {answer: True} if isinstance(answer, str) else answer

    async def accepted(self, reader, writer):
        task = asyncio.current_task()
        self.tasks.add(task)
        try:
            await self.connection(Stream(reader), writer)
        except (Cut, OSError, ValueError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def connection(self, stream, writer):
        place = self.places.get(writer.get_extra_info("sockname")[:2])
        if place is None:  # an address of a refused endpoint on a port that others use
            reset(writer)
            return
        if self.clusters.get(place[0], {}).get("backend") == "close_on_accept":
            return
        while await self.request(stream, writer, *place):
            pass

    async def request(self, stream, writer, cluster, index):
        """One request and its answer. False: the connection is over."""
        never = asyncio.get_running_loop().time() + NEVER
        line, fields = head_of(await stream.until(b"\r\n\r\n", never))
        entry = {"cluster": cluster, "endpoint": index, "request_line": line, "headers": fields, "body_length": None}
        self.record.append(entry)
        bodies = self.bodies
        answer = self.answer_of(cluster)
        if answer.get("at_head"):
            if not await self.raw(stream, writer, entry, answer):
                return False  # the body is not looked at
            await self.body(stream, entry, never)
            return True
        await self.body(stream, entry, never)
        if answer.get("echo"):
            said = {key: entry[key] for key in ("cluster", "endpoint", "request_line", "headers", "body_length")}
            body = json.dumps(said).encode()
            bodies.append(body)
            head = (f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: oracle\r\nx-oracle-cluster: {cluster}\r\n"
                    f"x-oracle-endpoint: {index}\r\ncontent-length: {len(body)}\r\n\r\n")
            writer.write(head.encode("latin-1") + (b"" if line.startswith("HEAD ") else body))
            await writer.drain()
            return True
        if answer.get("raw") is not None:
            return await self.raw(stream, writer, entry, answer)
        if answer.get("close"):
            await finish(stream, writer)
        elif answer.get("rst"):
            reset(writer)
        elif answer.get("hang"):
            await stream.rest(never, bytearray())
        return False

    async def raw(self, stream, writer, entry, answer):
        await send_raw(writer, answer["raw"])
        then = answer.get("then")
        if then == "fin":
            await finish(stream, writer)
        elif then == "rst":
            reset(writer)
        elif then == "tunnel":
            await tunnel(stream, writer, entry)
        return then is None

    @staticmethod
    async def body(stream, entry, deadline):
        fields, into, trailers = entry["headers"], bytearray(), None
        if is_chunked(fields):
            framing = "chunked"
            trailers = await chunked(stream, deadline, into)
        elif values(fields, "content-length"):
            framing = "content-length"
            await stream.exactly(int(values(fields, "content-length")[0]), deadline, into)
        else:
            framing = "none"
        entry.update(body_length=len(into), framing=framing)
        if into:
            entry["body_sha256"] = hashlib.sha256(into).hexdigest()
        if trailers:
            entry["trailers"] = trailers


async def send_raw(writer, raw):
    for part in [raw] if isinstance(raw, str) else raw:
        if isinstance(part, dict) and "sleep_ms" in part:
            await asyncio.sleep(part["sleep_ms"] / 1000)
        else:
            writer.write(latin1([part]))
            await writer.drain()


async def finish(stream, writer):
    """FIN, and no RST for what the other side still writes."""
    writer.write_eof()
    try:
        await stream.rest(asyncio.get_running_loop().time() + 1.0, bytearray())
    except Cut:
        pass


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def tunnel(stream, writer, entry):
    """Gives every byte back, and writes all of them down."""
    loop = asyncio.get_running_loop()
    while True:
        if stream.buffer:
            piece = stream.take(len(stream.buffer))
            entry["tunnel"] = entry.get("tunnel", "") + piece.decode("latin-1")
            writer.write(piece)
            await writer.drain()
        await stream.more(loop.time() + NEVER)
