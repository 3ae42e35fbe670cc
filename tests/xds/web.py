# SPDX-License-Identifier: Apache-2.0
"""gRPC-Web: over HTTP/1.1 and HTTP/2 against a server of plain text, and through a real Envoy."""
import json
import pathlib
import socket
import subprocess
import tempfile
import time
import unittest

import grpc
import raw
from raw import Http1, message
from real import Server, echo, fresh, sha

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ntransfer-encoding: chunked\r\n\r\n"
WEB = [(":status", "200"), ("content-type", "application/grpc-web+proto")]
TRAILERS = 0x80


def stay(body):
    def script(connection):
        connection.send(HEAD)
        connection.chunk(message(body))
        while True:
            connection.read_chunk()
    return script


class Http1Text(unittest.TestCase):
    def closed(self, script):
        with raw.Server(script, stay(b"next"), kind=Http1) as server, fresh(f"grpc-web+http://127.0.0.1:{server.port}/istiod") as talk:
            why = talk.next("closed")
            talk.next("message", sha256=sha(b"next"))
            return why, talk

    def test_both_sides_talk_at_once_over_http_1(self):
        heads = []

        def script(connection):
            heads.append(connection.head.decode().lower())
            connection.send(HEAD)
            connection.chunk(message(b"hello"))
            got = b""
            while True:
                got += connection.read_chunk()
                while len(got) >= 5 and len(got) >= 5 + int.from_bytes(got[1:5], "big"):
                    size = int.from_bytes(got[1:5], "big")
                    connection.chunk(message(b"you said " + got[5:5 + size]))
                    got = got[5 + size:]

        with raw.Server(script, kind=Http1) as server, fresh(f"grpc-web+http://127.0.0.1:{server.port}/istiod", cluster_id="c") as talk:
            talk.next("message", sha256=sha(b"hello"))
            for body in (b"one", b"x" * 100_000, b"", b"three"):
                self.assertEqual(talk.send(body), 0)
                talk.next("message", sha256=sha(b"you said " + body))
        self.assertTrue(heads[0].startswith("post /istiod/envoy.service.discovery.v3.aggregateddiscoveryservice/streamaggregatedresources http/1.1"))
        for line in ("content-type: application/grpc-web+proto", "x-grpc-web: 1", "transfer-encoding: chunked", "clusterid: c"):
            self.assertIn(line, heads[0].splitlines())
        self.assertNotIn("expect:", heads[0])

    def test_trailers_in_the_body_are_the_status(self):
        def script(connection):
            connection.send(HEAD)
            block = message(b"whole") + message(b"grpc-status:7\r\ngrpc-message:no%20way\r\n", flags=TRAILERS)
            for at in range(0, len(block), 3):
                connection.chunk(block[at:at + 3])
                time.sleep(0.002)
            connection.chunk(b"")

        why, talk = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 7, "no way"))
        self.assertIn(sha(b"whole"), [e["sha256"] for e in talk.past if e["event"] == "message"])

    def test_a_status_in_the_head_is_one_too(self):
        def script(connection):
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ngrpc-status: 16\r\ngrpc-message: who\r\ncontent-length: 0\r\n\r\n")
            connection.read_chunk()

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 16, "who"))

    def test_an_answer_that_ends_without_trailers_is_broken(self):
        def script(connection):
            connection.send(HEAD)
            connection.chunk(message(b"whole"))
            connection.chunk(b"")
            connection.read_chunk()

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("without a status", why["reason"])

    def test_a_cut_connection_is_broken(self):
        def script(connection):
            connection.send(HEAD)
            connection.chunk(message(b"half", length=100))

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("in the middle of a message of 100 bytes", why["reason"])

    def test_istiods_own_answer_to_grpc_web_says_what_is_missing(self):
        def script(connection):
            connection.send(b"HTTP/1.1 415 Unsupported Media Type\r\ncontent-type: text/plain\r\ncontent-length: 12\r\n\r\ninvalid gRPC")
            connection.read_chunk()

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["http_status"]), ("http", 415))
        self.assertIn("istiod itself does not speak gRPC-Web, a gateway must translate it", why["reason"])
        self.assertIn("invalid gRPC", why["reason"])

    def test_a_proxys_page_is_shown(self):
        def script(connection):
            connection.send(b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html>bad gateway</html>")

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["http_status"]), ("http", 502))
        self.assertIn("<html>bad gateway</html>", why["reason"])

    def test_grpc_in_place_of_grpc_web_is_refused(self):
        def script(connection):
            connection.send(HEAD.replace(b"-web+proto", b""))
            connection.chunk(message(b"whole"))
            connection.chunk(b"")
            connection.read_chunk()

        self.assertEqual(self.closed(script)[0]["kind"], "http")


class Http2Text(unittest.TestCase):
    def test_trailers_in_the_body_are_the_status_over_http_2(self):
        def script(connection):
            connection.headers(WEB)
            connection.data(message(b"whole"))
            connection.data(message(b"grpc-status: 14\r\ngrpc-message: later\r\n", flags=TRAILERS), end=True)
            connection.read_for(1)

        with raw.Server(script) as server, fresh(f"grpc-web+h2c://127.0.0.1:{server.port}") as talk:
            talk.next("message", sha256=sha(b"whole"))
            why = talk.next("closed")
            self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 14, "later"))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def envoy_config(ports, upstream, tls):
    def listener(port, codec, pair):
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web", "codec_type": codec, "stream_idle_timeout": "0s",
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
                {"match": {"prefix": "/"}, "route": {"cluster": "istiod", "timeout": "0s"}}]}]},
            "http_filters": [
                {"name": "envoy.filters.http.grpc_web", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}},
                {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
        chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        if pair:
            chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"] if codec == "AUTO" else ["http/1.1"], "tls_certificates": [
                    {"certificate_chain": {"filename": str(pair[0])}, "private_key": {"filename": str(pair[1])}}]}}}
        return {"name": f"l{port}", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}, "filter_chains": [chain]}

    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {"static_resources": {
        "listeners": [listener(ports[0], "HTTP1", None), listener(ports[1], "HTTP2", None), listener(ports[2], "AUTO", tls), listener(ports[3], "HTTP1", tls)],
        "clusters": [{"name": "istiod", "type": "STATIC", "connect_timeout": "1s",
                      "typed_extension_protocol_options": {protocol: {"@type": f"type.googleapis.com/{protocol}",
                                                                      "explicit_http_config": {"http2_protocol_options": {}}}},
                      "load_assignment": {"cluster_name": "istiod", "endpoints": [{"lb_endpoints": [{"endpoint": {
                          "address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}}]}]}}]}}


class Envoy(unittest.TestCase):
    """Each way to speak gRPC-Web, through Envoy's own filter, to gRPC's own server."""
    program = None  # set once by the test's main

    @classmethod
    def setUpClass(cls):
        from certs import Authority

        cls.folder = tempfile.TemporaryDirectory(prefix="weft-xds-")
        folder = pathlib.Path(cls.folder.name)
        cls.authority = Authority(folder / "ca")
        cls.ports, cls.upstream = [free_port() for _ in range(4)], free_port()
        config = envoy_config(cls.ports, cls.upstream, cls.authority.issue("gateway", "DNS:gateway.test"))
        (folder / "envoy.json").write_text(json.dumps(config))
        with open(folder / "log", "w", encoding="utf-8") as log:
            cls.envoy = subprocess.Popen([cls.program, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"],
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", cls.ports[3]), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("envoy does not listen:\n" + (folder / "log").read_text()[-2000:])

    @classmethod
    def tearDownClass(cls):
        cls.envoy.kill()
        cls.envoy.wait()
        cls.folder.cleanup()

    def talks(self, address, **options):
        with Server(echo, port=self.upstream), fresh(address, **options) as talk:
            talk.next("message", sha256=sha(b"hello"))
            for body in (b"one", b"x" * 300_000, b"two"):
                talk.send(body)
                talk.next("message", sha256=sha(b"you said " + body))
            time.sleep(0.2)
            talk.send(b"after a pause")
            talk.next("message", sha256=sha(b"you said after a pause"))

    def refuses(self, address, **options):
        def script(requests, context):
            next(requests)
            yield b"one"
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not: yours")

        with Server(script, port=self.upstream), fresh(address, **options) as talk:
            talk.next("opened")
            talk.send(b"go")
            talk.next("message", sha256=sha(b"one"))
            why = talk.next("closed")
            self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 7, "not: yours"))

    def test_http_1(self):
        self.talks(f"grpc-web+http://127.0.0.1:{self.ports[0]}")
        self.refuses(f"grpc-web+http://127.0.0.1:{self.ports[0]}")

    def test_http_2(self):
        self.talks(f"grpc-web+h2c://127.0.0.1:{self.ports[1]}")
        self.refuses(f"grpc-web+h2c://127.0.0.1:{self.ports[1]}")

    def test_tls_that_agrees_to_http_2(self):
        self.talks(f"grpc-web+https://127.0.0.1:{self.ports[2]}", root=self.authority.cert, server_name="gateway.test")
        self.refuses(f"grpc-web+https://127.0.0.1:{self.ports[2]}", root=self.authority.cert, server_name="gateway.test")

    def test_tls_that_agrees_to_http_1_only(self):
        self.talks(f"grpc-web+https://127.0.0.1:{self.ports[3]}", root=self.authority.cert, server_name="gateway.test")
        self.refuses(f"grpc-web+https://127.0.0.1:{self.ports[3]}", root=self.authority.cert, server_name="gateway.test")

    def test_plain_grpc_goes_through_the_same_gateway(self):
        self.talks(f"grpc://127.0.0.1:{self.ports[1]}")

    def test_a_gateway_that_reaches_nobody_is_told(self):
        with fresh(f"grpc-web+h2c://127.0.0.1:{self.ports[1]}") as talk:
            why = talk.next("closed")
            self.assertIn(why["kind"], ("status", "http"))
            self.assertTrue(why["grpc_status"] == 14 or why["http_status"] == 503, why)


