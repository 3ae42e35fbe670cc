# SPDX-License-Identifier: Apache-2.0
"""The client of a case: writes the recorded steps byte for byte on a fresh connection and writes down what came back, in the recordings' form."""
import asyncio
import re

import vectors
from wire import Cut, Stream, body_as_recorded, chunked, head_of, is_chunked, values

CLOSE_GRACE_S = 1.3  # Envoy closes up to a second after it said so; so may weft
STATUS_LINE = re.compile(rb"HTTP/1\.[01] [0-9]{3}[ \r]")
LINGER_MAX_S = 0.12  # an open connection is looked at for so long: weft closes at once


class Client:
    def __init__(self, case, stream, writer):
        self.case = case
        self.stream = stream
        self.writer = writer
        self.responses = []
        self.bodies = []
        self.found = {"responses": self.responses}
        self.loop = asyncio.get_running_loop()

    async def run(self):
        awaited, methods = 0, []  # responses still to come, methods of the requests
        begins, held = True, b""
        for step, following in zip(self.case.steps, [*self.case.steps[1:], {"sleep_ms": 1}]):
            if step.get("sleep_ms"):
                await asyncio.sleep(step["sleep_ms"] / 1000)
            if not step["data"]:
                continue
            if begins and not step.get("tunnel"):
                methods.append(method_of(step["data"]))
            begins = not step.get("more")
            # What is pipelined comes in one write: in several, a fast server could have answered before the last one.
            if step.get("pipelined") and not following.get("sleep_ms"):
                held += step["data"]
                awaited += 1
                continue
            if not await self.write(held + step["data"]):
                awaited += 1
                break
            held = b""
            if self.case.half_close and step is self.case.steps[-1]:
                self.writer.write_eof()
            if step.get("more"):
                continue
            if step.get("tunnel"):
                if not await self.tunnel(step["tunnel"]):
                    break
                continue
            awaited += 1
            if step.get("pipelined"):
                continue
            while awaited and await self.response(methods[len(self.responses)]):
                awaited -= 1
            if awaited:
                if self.is_cut() and step is not self.case.steps[-1]:
                    self.found["ended"] = "closed"  # the next request found nobody
                break
        if awaited and not self.found.get("ended") and not self.is_cut():
            await self.response(methods[min(len(self.responses), len(methods) - 1)])
        await self.linger()
        return self.found

    async def write(self, data):
        try:
            self.writer.write(data)
            await asyncio.wait_for(self.writer.drain(), self.case.timeout_ms / 1000)
        except OSError:
            return False
        except asyncio.TimeoutError:
            pass
        return True

    async def tunnel(self, count):
        deadline = self.loop.time() + self.case.timeout_ms / 1000
        if "ended" in self.found:
            return False
        try:
            piece = await self.stream.exactly(count, deadline)
        except Cut:
            return False
        self.found.setdefault("tunnel", []).append(piece.decode("latin-1"))
        return True

    async def response(self, method):
        """Reads one response with the interim ones before it. False: there is none, and `ended` says how."""
        deadline = self.loop.time() + self.case.timeout_ms / 1000
        interim = []
        while True:
            try:
                raw = await self.stream.until(b"\r\n\r\n", deadline)
            except Cut as cut:
                self.found["ended"] = {"eof": "closed", "reset": "reset", "timeout": "no response"}[str(cut)]
                if interim:
                    self.found["interim"] = interim
                self.left()
                return False
            if not STATUS_LINE.match(raw):
                self.stream.buffer[:0] = raw
                self.found["ended"] = "not a response"
                self.left()
                return False
            line, fields = head_of(raw)
            status = int(line.split(" ")[1])
            if status // 100 != 1 or status == 101:
                break
            interim.append({"status": status, "headers": fields})
        one = {"status": status, "version": line.split(" ")[0], "headers": fields}
        if interim:
            one["interim"] = interim
        self.responses.append(one)
        return await self.body(one, method, deadline)

    async def body(self, one, method, deadline):
        into, fields = bytearray(), one["headers"]
        try:
            if method == "HEAD" or one["status"] in (101, 204, 304):
                pass
            elif is_chunked(fields):
                trailers = await chunked(self.stream, deadline, into)
                if trailers:
                    one["trailers"] = trailers
            elif values(fields, "content-length"):
                await self.stream.exactly(int(values(fields, "content-length")[0]), deadline, into)
            else:
                await self.stream.rest(deadline, into)
                one["body_end"] = "eof"
        except (Cut, ValueError) as cut:
            one["body_end"] = str(cut) if isinstance(cut, Cut) else "bad chunk"
        one["body"] = body_as_recorded(bytes(into))
        self.bodies.append(bytes(into))
        return "body_end" not in one

    def left(self):
        if self.stream.buffer:
            self.found["left"] = self.stream.take(len(self.stream.buffer)).decode("latin-1")

    def is_cut(self):
        """The connection is over with what was read."""
        return any("body_end" in response for response in self.responses)

    def says_close(self):
        return bool(self.responses) and any(v.lower() == "close" for v in values(self.responses[-1]["headers"], "connection"))

    async def linger(self):
        """What becomes of the connection after the last response."""
        if not self.case.linger_ms or "ended" in self.found:
            return
        if self.is_cut():
            self.found["connection"] = {"eof": "closed", "reset": "reset"}.get(self.responses[-1].get("body_end"), "open")
            return
        wait = CLOSE_GRACE_S if self.says_close() else min(self.case.linger_ms / 1000, LINGER_MAX_S)
        deadline = self.loop.time() + wait
        self.found["connection"] = "open"
        while True:
            try:
                await self.stream.more(deadline)
            except Cut as cut:
                self.found["connection"] = {"eof": "closed", "reset": "reset", "timeout": "open"}[str(cut)]
                break
        self.left()


def method_of(data):
    return data.lstrip(b"\r\n").split(b" ", 1)[0].split(b"\t", 1)[0].decode("latin-1")


async def run_case(case, backends):
    """Runs one case; returns what was found in the recordings' form."""
    record = backends.begin()
    try:
        reader, writer = await asyncio.open_connection(vectors.SERVICE, vectors.PORT, limit=1 << 22)
    except OSError as error:
        return {"responses": [], "upstream": [], "ended": f"cannot connect: {error}"}
    port = writer.get_extra_info("sockname")[1]
    client = Client(case, Stream(reader), writer)
    try:
        found = await client.run()
        if case.settle_ms:
            await asyncio.sleep(case.settle_ms / 1000)
    finally:
        writer.transport.abort()
    if any(entry["body_length"] is None for entry in record) or found.get("ended") or not found["responses"]:
        await asyncio.sleep(0.02)  # what is still on its way to a server belongs to this case
    found["upstream"] = record
    found["client_port"] = port
    found["sent_bodies"] = [b.decode("latin-1") for b in backends.bodies]
    return found
