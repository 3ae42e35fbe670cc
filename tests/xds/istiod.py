#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for istiod's plaintext port: serves the resources of a configuration file of weftd over ADS, state of the world, by the rules that
were recorded of a real one, and pushes what changes in it.

  istiod.py --config FILE --port-file FILE --log FILE [--port N]

With --ca FOLDER (made by certs.py) it has a certificate service too, which signs for those who have the token "good", and gives a stream only to
identities of its node's namespace: they come from an Envoy that terminates TLS before it, in x-forwarded-client-cert. Over 15012 istiod does so.
`istiod.py envoy` writes that Envoy's bootstrap. When there is a file FAULT, the next push is its content, whatever that is.

The log has a line for each answer of a client: "TYPE ACK|NACK VERSION NODE-ID [REASON]", and for each push "TYPE PUSH VERSION NAMES".
"""
import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import sys
import pkgutil
import queue
import threading
import time

import grpc
import yaml
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, json_format
from envoy.service.discovery.v3 import discovery_pb2

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

PREFIX = "type.googleapis.com/"
TYPES = ["envoy.config.cluster.v3.Cluster", "envoy.config.endpoint.v3.ClusterLoadAssignment", "envoy.config.listener.v3.Listener",
         "envoy.config.route.v3.RouteConfiguration"]
CDS, EDS, LDS, RDS = (PREFIX + name for name in TYPES)
ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
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
    def __init__(self, server, context):
        self.server, self.context = server, context
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
            if isinstance(event, bytes):
                yield event
            elif event == "push":
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
        self.server.check_identity(self.node, self.context)
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


class Istiod(grpc.GenericRpcHandler):
    def __init__(self, options):
        self.options = options
        self.resources = Resources(options.config)
        self.log = open(options.log, "a", encoding="utf-8", buffering=1)
        self.lock = threading.Lock()
        self.number = self.version = 0
        self.signer = None
        if options.ca:
            import identity

            self.signer = identity.Signer(options.ca, lambda who: self.note("certificate", "SIGNED", who))
        self.streams = []

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def note(self, *words):
        self.log.write(" ".join(words).replace("\n", " ").rstrip() + "\n")

    def service(self, details):
        if details.method == ADS:
            return grpc.stream_stream_rpc_method_handler(self.stream, discovery_pb2.DiscoveryRequest.FromString,
                                                         lambda answer: answer if isinstance(answer, bytes) else answer.SerializeToString())
        return self.signer.service(details) if self.signer else None

    def check_identity(self, node, context):
        if not self.options.ca:
            return
        uri = dict(context.invocation_metadata()).get("x-forwarded-client-cert", "").rpartition("URI=")[2]
        namespace = node.split("~")[2].split(".")[1]
        if f"/ns/{namespace}/" not in uri:
            self.note("stream", "REFUSED", node, uri or "nobody")
            context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{uri or 'nobody'} is not of namespace {namespace}")

    def stream(self, requests, context):
        stream = Stream(self, context)
        self.streams.append(stream)
        context.add_callback(lambda: self.streams.remove(stream))
        return stream.answers(requests)

    def watch(self):
        fault = pathlib.Path(self.options.config).parent / "FAULT"
        while True:
            try:
                if fault.exists():
                    body = fault.read_bytes()
                    fault.unlink()
                    for stream in list(self.streams):
                        stream.events.put(body)
                if self.resources.reload():
                    self.version += 1
                    for stream in list(self.streams):
                        stream.events.put("push")
            except (OSError, yaml.YAMLError, json_format.ParseError) as error:
                self.note("config", "REFUSED", json.dumps(str(error)))
            time.sleep(0.02)


def envoy_bootstrap(folder, port, upstream):
    """TLS as on istiod's secure port: a client certificate is asked for, not insisted on, and told to the server behind."""
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "istiod", "codec_type": "HTTP2", "stream_idle_timeout": "0s", "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "istiod", "timeout": "0s"}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    tls = {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
           "common_tls_context": {"alpn_protocols": ["h2"], "validation_context": {"trusted_ca": {"filename": f"{folder}/root.pem"}}, "tls_certificates": [
               {"certificate_chain": {"filename": f"{folder}/istiod.pem"}, "private_key": {"filename": f"{folder}/istiod.key"}}]}}
    return {"static_resources": {
        "listeners": [{"name": "istiod", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}, "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
             "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls}}]}],
        "clusters": [{"name": "istiod", "type": "STATIC", "typed_extension_protocol_options": {
            protocol: {"@type": f"type.googleapis.com/{protocol}", "explicit_http_config": {"http2_protocol_options": {}}}},
            "load_assignment": {"cluster_name": "istiod", "endpoints": [{"lb_endpoints": [{"endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}}]}]}}]}}


def write_bootstrap(folder, port, upstream):
    """istiod.py envoy FOLDER PORT UPSTREAM-PORT: makes an authority and a server's certificate in FOLDER, and envoy.json."""
    from certs import Authority

    Authority(folder).issue("istiod", "DNS:istiod.istio-system.svc")
    pathlib.Path(folder, "envoy.json").write_text(json.dumps(envoy_bootstrap(folder, int(port), int(upstream))))


def main():
    if sys.argv[1:2] == ["envoy"]:
        write_bootstrap(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("config", "port-file", "log"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ca")
    options = parser.parse_args()
    istiod = Istiod(options)
    istiod.resources.reload()
    istiod.version = int(time.time())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((istiod,))
    port = server.add_insecure_port(f"127.0.0.1:{options.port}")
    server.start()
    pathlib.Path(options.port_file + ".new").write_text(f"{port}\n")
    os.rename(options.port_file + ".new", options.port_file)
    istiod.watch()


if __name__ == "__main__":
    main()
