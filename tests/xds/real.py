# SPDX-License-Identifier: Apache-2.0
"""gRPC's own server for Python (its C core): plaintext, TLS, identity, and as the other end of an Envoy that translates gRPC-Web."""
import base64
import concurrent.futures
import hashlib
import json
import pathlib
import shutil
import tempfile
import unittest

import grpc

from certs import Authority
from talk import Talk

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/istiod"
SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
BIG = 200 << 20


def sha(body):
    return hashlib.sha256(body).hexdigest()


class Service(grpc.GenericRpcHandler):
    """Streams bytes as they are: `script` is a generator of answers, given the iterator of requests and the context."""

    def __init__(self, script):
        self.script = script
        self.metadata, self.peers = [], []

    def service(self, details):
        if details.method != f"/{SERVICE}/StreamAggregatedResources":
            return None
        return grpc.stream_stream_rpc_method_handler(self.answer)

    def answer(self, requests, context):
        self.metadata.append(dict(context.invocation_metadata()))
        self.peers.append([name.decode() for name in context.auth_context().get("x509_subject_alternative_name", [])])
        yield from self.script(requests, context)


class Server:
    def __init__(self, script, credentials=None, port=0):
        self.service = script if isinstance(script, grpc.GenericRpcHandler) else Service(script)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self.service,))
        address = f"127.0.0.1:{port}"
        self.port = self.server.add_secure_port(address, credentials) if credentials else self.server.add_insecure_port(address)
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop(0).wait(5)


def echo(requests, _):
    yield b"hello"
    for request in requests:
        yield b"you said " + request


def fresh(address, **options):
    return Talk(address, **{"retry_min": 10, "retry_max": 100, **options})


class Plain(unittest.TestCase):
    def test_what_istiod_has_sent_arrives_byte_by_byte(self):
        recordings = [path.read_bytes() for path in sorted(DATA.glob("*.pb"))]

        def script(requests, _):
            next(requests)
            yield from recordings
            yield from requests

        self.assertGreater(len(recordings), 5)
        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("opened")
            talk.send(b"go")
            for body in recordings:
                self.assertEqual(talk.next("message")["sha256"], sha(body))

    def test_200_mib_in_one_message_arrive(self):
        body = bytes(1 << 20) * 200

        def script(requests, _):
            yield body
            yield from requests

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            self.assertEqual(talk.next("message", timeout=60)["size"], BIG)

    def test_both_talk_at_once(self):
        with Server(echo) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("message", sha256=sha(b"hello"))
            for body in (b"one", b"x" * 300_000, b"two"):
                talk.send(body)
                talk.next("message", sha256=sha(b"you said " + body))

    def test_the_words_of_a_refusal_arrive(self):
        """As istiod refuses a node: before any message, head, status and RST_STREAM in one segment."""
        def script(requests, context):
            next(requests)
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "missing node ID: 100% wrong")
            yield b""

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            for _ in range(5):
                talk.next("opened")
                talk.send(b"who am I")
                why = talk.next("closed")
                self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 3, "missing node ID: 100% wrong"))

    def test_a_method_that_is_not_there_is_told(self):
        with Server(echo) as server, fresh(f"grpc://127.0.0.1:{server.port}", path="/istio/Nothing") as talk:
            self.assertEqual(talk.next("closed")["grpc_status"], 12)

    def test_an_end_after_messages_is_an_end(self):
        def script(requests, _):
            yield b"one"
            yield b"two"

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("message", sha256=sha(b"two"))
            self.assertEqual(talk.next("closed")["kind"], "ended")

    def test_no_token_is_sent_in_plaintext(self):
        with tempfile.NamedTemporaryFile("w") as token, Server(echo) as server:
            token.write("secret")
            token.flush()
            with fresh(f"grpc://127.0.0.1:{server.port}", token=token.name, cluster_id="Kubernetes") as talk:
                talk.next("message")
            self.assertNotIn("authorization", server.service.metadata[0])
            self.assertEqual(server.service.metadata[0]["clusterid"], "Kubernetes")
            self.assertTrue(server.service.metadata[0]["user-agent"].startswith("weft/"))

    def test_a_server_that_is_replaced_is_found_again(self):
        with Server(echo) as server:
            port = server.port
            talk = fresh(f"grpc://127.0.0.1:{port}")
            talk.next("message")
        with talk:
            talk.next("closed")
            with Server(echo, port=port):
                talk.next("opened")
                talk.next("message", sha256=sha(b"hello"))


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-xds-"))
        cls.authority = Authority(cls.folder / "ca")
        cls.other = Authority(cls.folder / "other", "another CA")
        cls.good = cls.authority.issue("istiod", "DNS:istiod.istio-system.svc,DNS:istiod.istio-system")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def credentials(self, pair=None, clients=None):
        cert, key = pair or self.good
        return grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())], root_certificates=clients and clients.read_bytes(),
                                           require_client_auth=bool(clients))

    def fresh(self, server, **options):
        return fresh(f"grpcs://127.0.0.1:{server.port}", **{"root": self.authority.cert, "server_name": "istiod.istio-system.svc", **options})

    def refused(self, pair=None, **options):
        with Server(echo, self.credentials(pair)) as server, self.fresh(server, **options) as talk:
            why = talk.next("closed")
            self.assertEqual((why["kind"], why["was_opened"]), ("connect", False))
            return why["reason"]

    def test_a_server_with_the_right_name_is_trusted(self):
        with Server(echo, self.credentials()) as server, self.fresh(server) as talk:
            talk.next("message", sha256=sha(b"hello"))
            talk.send(b"x" * 100_000)
            talk.next("message", sha256=sha(b"you said " + b"x" * 100_000))

    def test_another_name_is_refused_and_both_are_named(self):
        reason = self.refused(server_name="istiod.elsewhere.svc")
        self.assertIn("istiod.elsewhere.svc", reason)
        self.assertIn("it is for istiod.istio-system.svc, istiod.istio-system", reason)

    def test_without_a_name_the_address_must_be_in_the_certificate(self):
        with Server(echo, self.credentials()) as server, fresh(f"grpcs://127.0.0.1:{server.port}", root=self.authority.cert) as talk:
            self.assertIn("127.0.0.1", talk.next("closed")["reason"])

    def test_another_authority_is_refused(self):
        reason = self.refused(root=self.other.cert)
        self.assertIn("can't be trusted", reason)
        self.assertIn("istiod.istio-system.svc", reason)

    def test_an_expired_certificate_is_named_with_its_date(self):
        reason = self.refused(self.authority.issue("old", "DNS:istiod.istio-system.svc", days=(-30, -10)))
        self.assertRegex(reason, r'the server\'s certificate "istiod.istio-system.svc" expired on 20\d\d-\d\d-\d\dT')

    def test_a_certificate_of_the_future_is_named_with_its_date(self):
        reason = self.refused(self.authority.issue("early", "DNS:istiod.istio-system.svc", days=(1, 2)))
        self.assertRegex(reason, r"is valid only from 20\d\d-")

    def test_the_root_is_read_again_when_it_was_rotated(self):
        root = self.folder / "rotated.pem"
        root.write_bytes(self.other.cert.read_bytes())
        with Server(echo, self.credentials()) as server, self.fresh(server, root=root) as talk:
            talk.next("closed", kind="connect")
            root.write_bytes(self.authority.cert.read_bytes())
            talk.next("message", sha256=sha(b"hello"))

    def test_a_root_that_is_not_there_or_no_certificate_is_named(self):
        nothing = self.folder / "nothing.pem"
        self.assertIn(f"root certificate {nothing}: No such file", self.refused(root=nothing))
        nothing.write_text("hello")
        self.assertIn(f"root certificate {nothing} holds no certificate", self.refused(root=nothing))

    def test_a_rotated_token_is_sent_by_the_next_call(self):
        token = self.folder / "token"
        token.write_text("first\n")

        def script(requests, context):
            if dict(context.invocation_metadata()).get("authorization") != "Bearer second":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "authentication failure")
            yield b"welcome"
            yield from requests

        with Server(script, self.credentials()) as server, self.fresh(server, token=token, cluster_id="c1") as talk:
            why = talk.next("closed", kind="status")
            self.assertEqual((why["grpc_status"], why["grpc_message"]), (16, "authentication failure"))
            token.write_text("second")
            talk.next("message", sha256=sha(b"welcome"))
            self.assertEqual(server.service.metadata[-1]["clusterid"], "c1")

    def test_an_expired_token_is_named_with_its_date(self):
        def part(value):
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        def script(requests, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
            yield b""

        token = self.folder / "expired"
        token.write_text(".".join((part({"alg": "none"}), part({"sub": "weft", "exp": 1700000000}), "x")))
        with Server(script, self.credentials()) as server, self.fresh(server, token=token) as talk:
            self.assertIn("the token says that it expired on 2023-11-14T22:13:20Z", talk.next("closed")["reason"])

    def test_a_token_that_is_missing_or_empty_is_named(self):
        token = self.folder / "no-token"
        self.assertIn(f"token {token}: No such file", self.refused(token=token))
        token.write_text("\n")
        self.assertIn(f"token {token} is empty", self.refused(token=token))

    def test_a_client_certificate_is_shown_instead_of_the_token(self):
        cert, key = self.authority.issue("workload", "URI:spiffe://cluster.local/ns/default/sa/default")
        token = self.folder / "token-too"
        token.write_text("secret")
        with Server(echo, self.credentials(clients=self.authority.cert)) as server:
            with self.fresh(server, cert=cert, key=key, token=token) as talk:
                talk.next("message")
            self.assertEqual(server.service.peers[-1], ["spiffe://cluster.local/ns/default/sa/default"])
            self.assertNotIn("authorization", server.service.metadata[-1])

    def test_a_new_client_certificate_counts_from_the_next_call_on(self):
        first, second = (self.authority.issue(name, f"URI:spiffe://cluster.local/ns/default/sa/{name}") for name in ("one", "two"))
        with Server(echo, self.credentials(clients=self.authority.cert)) as server:
            with self.fresh(server, cert=first[0], key=first[1]) as talk:
                talk.next("message")
                talk.tell(f"certificate {second[0]} {second[1]}")
                talk.send(b"still")
                talk.next("message", sha256=sha(b"you said still"))
                talk.tell("restart")
                talk.next("message", sha256=sha(b"hello"))
            self.assertEqual([peer[0].rsplit("/", 1)[1] for peer in server.service.peers], ["one", "two"])

    def test_an_expired_client_certificate_is_named_before_it_is_shown(self):
        cert, key = self.authority.issue("gone", "URI:spiffe://cluster.local/ns/default/sa/x", days=(-3, -2))
        self.assertRegex(self.refused(cert=cert, key=key), rf"client certificate {cert} expired on 20\d\d-")

    def test_a_server_that_does_not_speak_http_2_is_named(self):
        import ssl

        import raw

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.good)
        context.set_alpn_protocols(["http/1.1"])

        def script(sock):
            sock.recv(1)

        with raw.Server(script, kind=None, wrap=lambda sock: context.wrap_socket(sock, server_side=True)) as server, self.fresh(server) as talk:
            self.assertIn("does not speak HTTP/2, which gRPC needs", talk.next("closed")["reason"])


