#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for istiod's plaintext port: serves the resources of a configuration file of weftd over ADS, state of the world, by the rules that
were recorded of a real one, and pushes what changes in it.

  istiod.py --config FILE --port-file FILE --log FILE [--port N]

The log has a line for each answer of a client: "TYPE ACK|NACK VERSION NODE-ID [REASON]", and for each push "TYPE PUSH VERSION NAMES".
"""
import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import pkgutil
import queue
import threading
import time

import grpc
import yaml
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

PREFIX = "type.googleapis.com/"
TYPES = ["envoy.config.cluster.v3.Cluster", "envoy.config.endpoint.v3.ClusterLoadAssignment", "envoy.config.listener.v3.Listener",
         "envoy.config.route.v3.RouteConfiguration"]
CDS, EDS, LDS, RDS = (PREFIX + name for name in TYPES)
SHORT = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS"}


def types_in(value):
    if isinstance(value, dict):
        if "@type" in value:
            yield value["@type"].removeprefix(PREFIX)
        for each in value.values():
            yield from types_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from types_in(each)


def know(full_name):
    """Loads the message type; one that nobody ships (istio's own filters) is an empty message."""
    package, name = full_name.rsplit(".", 1)
    try:
        folder = importlib.import_module(package)
        for module in pkgutil.iter_modules(folder.__path__):
            if module.name.endswith("_pb2"):
                importlib.import_module(f"{package}.{module.name}")
    except ImportError:
        file = descriptor_pb2.FileDescriptorProto(name=f"{full_name}.proto", package=package, syntax="proto3")
        file.message_type.add(name=name)
        descriptor_pool.Default().Add(file)


class Resources:
    """What the file says, by type and name, serialized."""

    def __init__(self, path):
        self.path = path
        self.known = set()
        self.identity = None
        self.by_type = {}

    def reload(self):
        stat = os.stat(self.path)
        identity = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if identity == self.identity:
            return False
        resources = yaml.safe_load(pathlib.Path(self.path).read_text())["resources"]
        for full_name in set(types_in(resources)) - self.known:
            know(full_name)
            self.known.add(full_name)
        by_type = {url: {} for url in SHORT}
        for resource in resources:
            packed = json_format.ParseDict(resource, any_pb2.Any())
            by_type[resource["@type"]][resource.get("name") or resource.get("cluster_name")] = packed.SerializeToString(deterministic=True)
        self.by_type, self.identity = by_type, identity
        return True


class Stream:
    def __init__(self, server):
        self.server = server
        self.events = queue.Queue()
        self.node = ""
        self.names = {}   # type -> names asked for; None: all
        self.nonces = {}
        self.sent = {}    # type -> name -> bytes

    def answers(self, requests):
        threading.Thread(target=self.read, args=(requests,), daemon=True).start()
        while True:
            event = self.events.get()
            if event is None:
                return
            if event == "push":
                for url in (CDS, EDS, LDS, RDS):
                    yield from self.push(url)
            else:
                yield from self.request(event)

    def read(self, requests):
        try:
            for request in requests:
                self.events.put(request)
        except grpc.RpcError:
            pass
        self.events.put(None)

    def request(self, request):
        url = request.type_url
        self.node = self.node or request.node.id
        nonce = self.nonces.get(url, "")
        if request.response_nonce and request.response_nonce != nonce:
            return  # stale: ignored with all it says
        if request.response_nonce:
            self.server.note(SHORT[url], "NACK" if request.HasField("error_detail") else "ACK", request.version_info, self.node,
                             request.error_detail.message)
        names = set(request.resource_names) if url in (EDS, RDS) else None
        before = self.names.get(url)
        self.names[url] = names
        if not request.response_nonce:
            yield from self.answer(url, names)
        elif names is not None and names - (before or set()):
            yield from self.answer(url, names - (before or set()))

    def push(self, url):
        if url not in self.names:
            return
        now, sent = self.server.resources.by_type[url], self.sent.get(url, {})
        if url in (CDS, LDS):
            if now != sent:
                yield from self.answer(url, None)
            return
        changed = {name for name in self.names[url] or () if now.get(name) != sent.get(name)}
        if changed:
            yield from self.answer(url, changed)

    def answer(self, url, names):
        if names is not None and not names:
            return
        now = self.server.resources.by_type[url]
        picked = dict(now) if names is None else {name: now.get(name) for name in sorted(names)}
        if names is None:
            self.sent[url] = picked
        else:
            self.sent.setdefault(url, {}).update(picked)
        self.nonces[url] = f"n{self.server.next_number()}"
        version = f"v{self.server.version}"
        self.server.note(SHORT[url], "PUSH", version, self.node, " ".join(picked))
        yield discovery_pb2.DiscoveryResponse(version_info=version, type_url=url, nonce=self.nonces[url], resources=[
            any_pb2.Any.FromString(body) if body else self.empty(url, name) for name, body in picked.items()])

    @staticmethod
    def empty(url, name):
        """What is not known: an empty assignment or route configuration, as istiod answers."""
        packed = any_pb2.Any()
        json_format.ParseDict({"@type": url, "cluster_name" if url == EDS else "name": name}, packed)
        return packed


class Istiod(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    def __init__(self, options):
        self.resources = Resources(options.config)
        self.log = open(options.log, "a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()
        self.number = self.version = 0
        self.streams = []

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def note(self, *words):
        self.log.write(" ".join(words).replace("\n", " ").rstrip() + "\n")

    def StreamAggregatedResources(self, requests, context):
        stream = Stream(self)
        self.streams.append(stream)
        context.add_callback(lambda: self.streams.remove(stream))
        return stream.answers(requests)

    def watch(self):
        while True:
            try:
                if self.resources.reload():
                    self.version += 1
                    for stream in list(self.streams):
                        stream.events.put("push")
            except (OSError, yaml.YAMLError, json_format.ParseError) as error:
                self.note("config", "REFUSED", json.dumps(str(error)))
            time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "port-file", "log"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    istiod = Istiod(options)
    istiod.resources.reload()
    istiod.version = int(time.time())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(istiod, server)
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    server.start()
    pathlib.Path(options.port_file + ".new").write_text(f"{port}\n")
    os.rename(options.port_file + ".new", options.port_file)
    istiod.watch()


if __name__ == "__main__":
    main()
