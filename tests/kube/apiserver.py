#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small API server that tests can order about: Pods and Namespaces, lists with pages, watches with bookmarks, in protobuf.

  apiserver.py --port-file FILE [--port N] [--history N] [--dir DIR]     listens on 127.0.0.1, plaintext HTTP/1.1

With --dir it has a token there, as a service account's volume does, and answers those only who have it. tests/kube/server is a real API server that takes
the same orders.

What it has and does is changed by POST /control with a JSON object:
  {"put": OBJECT}            a Pod or a Namespace as kubectl would print it, of what weft reads: made, or changed; the answer has {"uids": [...]}
  {"delete": "NAMESPACE/NAME"} or {"delete": "NAME"} (a namespace)
  {"end": "NAMESPACE/NAME"}  a pod is to be deleted, and waits for its kubelet
  {"fault": {"code": 500, "count": 2, "retry_after": 1, "verb": "list", "continue" or "watch"}}   the next answers
  {"drop": true}             resets all connections
  {"stall": SECONDS}         watches say nothing for so long
  {"hang": SECONDS}          nothing is answered for so long
  {"expire": true}           forgets its history: watches from before are answered with 410
  {"rotate": true}           gives out another token, and takes none that was before
  {"expire_token": true}     takes no token any more
GET /control tells what was asked of it: {"lists": n, "watches": n, "events": [...], "faults": that wait for their request}.
"""
import argparse
import contextlib
import http.server
import json
import os
import socket
import struct
import threading
import time
import urllib.parse
import uuid

TYPE = "application/vnd.kubernetes.protobuf"


# ---- encoding: numbers and names are those of the public API ---------------------------------------------------------------------------

def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, bool) or isinstance(value, int):
        return varint(number << 3) + varint(int(value))
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def envelope(kind, raw):
    return b"k8s\0" + field(1, field(1, "v1") + field(2, kind)) + field(2, raw)


def metadata(meta):
    out = field(1, meta["name"]) + field(3, meta.get("namespace", "")) + field(5, meta["uid"]) + field(6, str(meta["resourceVersion"]))
    if meta.get("deletionTimestamp"):
        out += field(9, field(1, 1))
    for number, key in ((11, "labels"), (12, "annotations")):
        for name, value in sorted((meta.get(key) or {}).items()):
            out += field(number, field(1, name) + field(2, value))
    return out


def container(item):
    return field(1, item["name"]) + (field(24, item["restartPolicy"]) if item.get("restartPolicy") else b"")


def encode(thing):
    meta = field(1, metadata(thing["metadata"]))
    if thing["kind"] == "Namespace":
        return meta + field(3, field(1, "Active"))
    spec, status = thing.get("spec", {}), thing.get("status", {})
    out = b"".join(field(2, container(item)) for item in spec.get("containers", []))
    out += b"".join(field(20, container(item)) for item in spec.get("initContainers", []))
    out += field(8, spec.get("serviceAccountName", "default")) + field(10, spec.get("nodeName", ""))
    if spec.get("hostNetwork"):
        out += field(11, True)
    state = field(1, status.get("phase", "Running")) + field(9, status.get("qosClass", "Burstable"))
    for each in status.get("podIPs", []):
        state += field(12, field(1, each["ip"]))
    return meta + field(2, out) + field(3, state)


def failure(code, reason, message, retry_after=0):
    out = field(2, "Failure") + field(3, message) + field(4, reason)
    if retry_after:
        out += field(5, field(5, retry_after))
    return envelope("Status", out + field(6, code))


def frame(kind, body):
    event = field(1, kind) + field(2, field(1, body))
    return struct.pack(">I", len(event)) + event


def listed(some):
    return some if isinstance(some, list) else [] if some is None else [some]


# ---- what it has -----------------------------------------------------------------------------------------------------------------------

class Cluster:
    def __init__(self, keep):
        self.change = threading.Condition()
        self.things = {"pods": {}, "namespaces": {}}
        # later than those of a server that was here before, of which nothing is known
        self.version = self.oldest = int(time.time() * 1000)
        self.keep = keep
        self.history = []
        self.faults, self.sockets, self.events = [], set(), []
        self.epoch = 0
        self.stalled_until = self.hangs_until = 0.0
        self.folder, self.token = None, None
        self.counts = {"lists": 0, "watches": 0}

    def note(self, plural, kind, thing):
        self.version += 1
        thing["metadata"]["resourceVersion"] = self.version
        self.history.append((self.version, plural, kind, thing["metadata"].get("namespace", ""), thing.get("spec", {}).get("nodeName", ""),
                             envelope(thing["kind"], encode(thing))))
        if len(self.history) > self.keep:
            self.oldest = self.history[-self.keep - 1][0]
            del self.history[:-self.keep]
        self.change.notify_all()

    def put(self, thing):
        plural = "pods" if thing["kind"] == "Pod" else "namespaces"
        meta = thing["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        former = self.things[plural].get(key)
        meta.setdefault("uid", former["metadata"]["uid"] if former else str(uuid.uuid4()))
        exists = former is not None and former["metadata"]["uid"] == meta["uid"]
        self.things[plural][key] = thing
        self.note(plural, "MODIFIED" if exists else "ADDED", thing)
        return meta["uid"]

    def delete(self, name):
        plural = "pods" if "/" in name else "namespaces"
        thing = self.things[plural].pop(tuple(name.split("/")) if "/" in name else ("", name))
        self.note(plural, "DELETED", json.loads(json.dumps(thing)))

    def end(self, name):
        thing = json.loads(json.dumps(self.things["pods"][tuple(name.split("/"))]))
        thing["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        self.put(thing)

    def rotate(self):
        """As kubelet changes a volume: a new folder, to which one link is renamed."""
        self.token = str(uuid.uuid4())
        fresh = os.path.join(self.folder, f"..{self.token}")
        os.mkdir(fresh)
        with open(os.path.join(fresh, "token"), "w", encoding="ascii") as file:
            file.write(self.token)
        data = os.path.join(self.folder, "..data")
        os.symlink(os.path.basename(fresh), data + "_tmp")
        os.rename(data + "_tmp", data)
        if not os.path.lexists(os.path.join(self.folder, "token")):
            os.symlink("..data/token", os.path.join(self.folder, "token"))

    def use(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        try:
            with open(os.path.join(folder, "token"), encoding="ascii") as file:
                self.token = file.read()
        except FileNotFoundError:
            self.rotate()

    def order(self, what, by=None):
        """`by`: the connection that says so, which is not dropped."""
        uids = []
        with self.change:
            for thing in listed(what.get("put")):
                uids.append(self.put(thing))
            for name in listed(what.get("delete")):
                self.delete(name)
            for name in listed(what.get("end")):
                self.end(name)
            if "fault" in what:
                self.faults += [dict(what["fault"])] * what["fault"].get("count", 1)
            if "stall" in what:
                self.stalled_until = time.monotonic() + what["stall"]
            if "hang" in what:
                self.hangs_until = time.monotonic() + what["hang"]
            if "expire_token" in what:
                self.token = ""
            if "rotate" in what:
                self.rotate()
            if "expire" in what:
                self.oldest = self.version
                self.history.clear()
            if "drop" in what:
                self.epoch += 1
                for each in self.sockets - {by}:
                    with contextlib.suppress(OSError): # its client may be gone already
                        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        each.shutdown(socket.SHUT_RDWR)
            self.change.notify_all()
        return uids

    def fault(self, verb):
        for each in self.faults:
            if each.get("verb", verb) == verb:
                self.faults.remove(each)
                return each
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster = None
    disable_nagle_algorithm = True

    def log_message(self, *arguments):
        pass

    def setup(self):
        super().setup()
        with self.cluster.change:
            self.cluster.sockets.add(self.connection)

    def finish(self):
        with self.cluster.change:
            self.cluster.sockets.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass

    def reply(self, code, body, kind=TYPE, headers=()):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            self.reply(200, json.dumps({"uids": self.cluster.order(body, self.connection)}).encode(), "application/json")
        elif not self.is_allowed():
            return
        elif self.path.endswith("/events"):
            with self.cluster.change:
                self.cluster.events.append(body)
            self.reply(201, b"{}", "application/json")
        else:
            self.reply(404, failure(404, "NotFound", "not found"))

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        plural = url.path.rsplit("/", 1)[-1]
        if url.path == "/control":
            with self.cluster.change:
                told = dict(self.cluster.counts, version=self.cluster.version, events=self.cluster.events, faults=len(self.cluster.faults))
            self.reply(200, json.dumps(told).encode(), "application/json")
            return
        if not self.is_allowed():
            return
        if plural not in self.cluster.things:
            self.reply(404, failure(404, "NotFound", "not found"))
            return
        verb = "watch" if query.get("watch") else "list"
        with self.cluster.change:
            self.cluster.counts[verb + ("es" if verb == "watch" else "s")] += 1
            fault = self.cluster.fault("continue" if verb == "list" and query.get("continue") else verb)
        if fault:
            retry = fault.get("retry_after", 0)
            self.reply(fault["code"], failure(fault["code"], "Ordered", "as ordered", retry), headers=[("Retry-After", str(retry))] if retry else [])
        elif verb == "watch":
            self.watch(plural, query)
        else:
            self.list(plural, query)

    def is_allowed(self):
        time.sleep(max(self.cluster.hangs_until - time.monotonic(), 0))
        allowed = self.cluster.token is None or self.headers["Authorization"] == "Bearer " + self.cluster.token and self.cluster.token
        if not allowed:
            self.reply(401, failure(401, "Unauthorized", "Unauthorized"))
        return allowed

    def node(self, query):
        return query.get("fieldSelector", "").removeprefix("spec.nodeName=")

    def list(self, plural, query):
        with self.cluster.change:
            node, version = self.node(query), self.cluster.version
            things = [t for _, t in sorted(self.cluster.things[plural].items()) if not node or t.get("spec", {}).get("nodeName") == node]
            start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0) or len(things) + 1
            rest = str(start + limit) if start + limit < len(things) else ""
            raw = field(1, field(2, str(version)) + field(3, rest)) + b"".join(field(2, encode(t)) for t in things[start:start + limit])
        self.reply(200, envelope("PodList" if plural == "pods" else "NamespaceList", raw))

    def chunk(self, body):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))
        self.wfile.flush()

    def watch(self, plural, query):
        cluster, node, at = self.cluster, self.node(query), int(query["resourceVersion"])
        end = time.monotonic() + int(query.get("timeoutSeconds") or 1800)
        if at < cluster.oldest:
            self.reply(410, failure(410, "Expired", f"too old resource version: {at} ({cluster.oldest})"))
            return
        self.send_response(200)
        self.send_header("Content-Type", TYPE + ";stream=watch")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        epoch, told = cluster.epoch, time.monotonic()
        while epoch == cluster.epoch and time.monotonic() < end:
            with cluster.change:
                stalled = max(cluster.stalled_until, cluster.hangs_until) - time.monotonic()
                news = [] if stalled > 0 else [h for h in cluster.history if h[0] > at]
                if not news:
                    cluster.change.wait(min(1.0, max(stalled, 0.0) or 1.0))
                    continue
                at = news[-1][0]
            for _, which, kind, _, where, body in news:
                if which == plural and (not node or where == node):
                    self.chunk(frame(kind, body))
            if time.monotonic() - told > 60:
                told = time.monotonic()
                self.chunk(frame("BOOKMARK", envelope("Pod", field(1, field(6, str(at))))))
        self.wfile.write(b"0\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", required=True)
    parser.add_argument("--history", type=int, default=100000)
    parser.add_argument("--dir")
    parser.add_argument("--begin-with", metavar="FILE", help="objects that it has from its first answer on, as one {\"put\": ...}")
    arguments = parser.parse_args()
    Handler.cluster = Cluster(arguments.history)
    if arguments.dir:
        Handler.cluster.use(arguments.dir)
    if arguments.begin_with:
        with open(arguments.begin_with, encoding="utf-8") as file:
            Handler.cluster.order(json.load(file))
    server = Server(("127.0.0.1", arguments.port), Handler)
    with open(arguments.port_file + ".new", "w", encoding="ascii") as out:
        out.write(str(server.server_address[1]))
    os.rename(arguments.port_file + ".new", arguments.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
