# SPDX-License-Identifier: Apache-2.0
"""Certificates of workloads: istiod's certificate service, and streams that take only an identity of their namespace."""
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

from certs import Authority
from real import Server, Service
from talk import Talk

CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
DEFAULT = "spiffe://cluster.local/ns/default/sa/cli"


def messages():
    """The two messages as istio.io/api security/v1alpha1/ca.proto has them, written out once more: not from our own .proto."""
    file = descriptor_pb2.FileDescriptorProto(name="ca.proto", package="istio.v1.auth", syntax="proto3", dependency=["google/protobuf/struct.proto"])
    field = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    request.field.add(name="metadata", number=4, type=field.TYPE_MESSAGE, type_name=".google.protobuf.Struct", label=field.LABEL_OPTIONAL)
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"istio.v1.auth.{name}")) for name in ("IstioCertificateRequest", "IstioCertificateResponse")]


REQUEST, RESPONSE = messages()


class Signer(grpc.GenericRpcHandler):
    """Signs for whom it is asked, if the token is good and its owner is trusted. `authority`: or the folder of one that was made."""

    def __init__(self, authority, on_signed=None):
        self.authority = authority if isinstance(authority, Authority) else Authority(authority)
        self.on_signed = on_signed
        self.requests, self.signed = [], 0
        self.lock = threading.Lock()  # openssl's files are no database for two
        self.is_trusted = True
        self.days = (-1, 1)
        self.names = None  # other ones than were asked for

    def service(self, details):
        if details.method == CREATE:
            return grpc.unary_unary_rpc_method_handler(self.create, REQUEST.FromString, RESPONSE.SerializeToString)
        return None

    def create(self, request, context):
        if dict(context.invocation_metadata()).get("authorization") != "Bearer good":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure")
        if not self.is_trusted:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "request impersonation authentication failure")
        who = request.metadata["ImpersonatedIdentity"]
        with self.lock:
            return self.sign(request.csr, who, request.validity_duration)

    def sign(self, text, who, validity_s):
        self.requests.append((who, validity_s))
        self.signed += 1
        csr, cert = (self.authority.folder / f"{self.signed}.{end}" for end in ("csr", "pem"))
        csr.write_text(text)
        said = subprocess.run(["openssl", "req", "-in", csr, "-noout", "-verify", "-text"], check=True, capture_output=True, text=True).stdout
        assert f"URI:{who}" in said, said
        self.authority.sign(csr, cert, self.names or f"URI:{who}", self.days)
        if self.on_signed:
            self.on_signed(who)
        return RESPONSE(cert_chain=[cert.read_text(), self.authority.cert.read_text()])


class Istiod(Signer, Service):
    """And streams for identities of one namespace."""

    def __init__(self, authority, script):
        Signer.__init__(self, authority)
        Service.__init__(self, script)

    def service(self, details):
        return Signer.service(self, details) or Service.service(self, details)


def namespace_of(context):
    names = [name.decode() for name in context.auth_context().get("x509_subject_alternative_name", [])]
    return names[0].split("/")[4] if names else None


def serve(requests, context):
    if namespace_of(context) != "default":
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "identity is not of this namespace")
    yield b"config of default"
    yield from requests


class Identity(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-xds-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.authority = Authority(self.folder / "ca")
        # istiod asks for a certificate without insisting on one; gRPC for Python can't, so there are two ports
        self.istiod = Istiod(self.authority, serve)
        pair = self.pair("istiod", "DNS:istiod.istio-system.svc")
        self.server = Server(self.istiod, grpc.ssl_server_credentials(pair, root_certificates=self.authority.cert.read_bytes(), require_client_auth=True))
        self.addCleanup(self.server.__exit__)
        self.signer = self.signs_with(pair)
        self.token = self.folder / "token"
        self.token.write_text("good\n")

    def pair(self, *words, **options):
        cert, key = self.authority.issue(*words, **options)
        return [(key.read_bytes(), cert.read_bytes())]

    def signs_with(self, pair, port=0):
        """The certificate service, which shows this certificate of its own."""
        signer = Server(self.istiod, grpc.ssl_server_credentials(pair), port)
        self.addCleanup(signer.__exit__)
        return signer

    def talk(self, spiffe=DEFAULT, **options):
        return Talk(f"grpcs://127.0.0.1:{self.server.port}", **{"root": self.authority.cert, "server_name": "istiod.istio-system.svc", "token": self.token,
                                                                "identity": spiffe, "identity_address": f"grpcs://127.0.0.1:{self.signer.port}", "retry_min": 10, "retry_max": 100, **options})

    def test_a_stream_of_a_namespace_authenticates_as_its_workload(self):
        with self.talk() as talk:
            talk.next("certificate")
            talk.next("message", size=len(b"config of default"))
        self.assertEqual(self.istiod.requests, [(DEFAULT, 86400)])
        self.assertEqual(self.istiod.peers, [[DEFAULT]])
        self.assertNotIn("authorization", self.istiod.metadata[0])

    def test_another_namespace_is_refused_in_the_servers_words(self):
        with self.talk("spiffe://cluster.local/ns/other/sa/cli") as talk:
            self.assertIn("PERMISSION_DENIED: identity is not of this namespace", talk.next("closed")["reason"])

    def failure(self, talk, text):
        """The line in the log that says so."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            found = [line for line in talk.log if text in line]
            if found:
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"no line says {text}: {talk.log}")

    def test_an_account_that_istiod_does_not_trust_is_told_what_to_set(self):
        self.istiod.is_trusted = False
        with self.talk() as talk:
            line = self.failure(talk, "request impersonation authentication failure")
            self.assertIn("CA_TRUSTED_NODE_ACCOUNTS", line)
            self.assertIn("docs/install.md", line)
            self.istiod.is_trusted = True
            talk.next("message")

    def test_a_rotated_token_is_used_for_the_next_request(self):
        self.token.write_text("bad")
        with self.talk() as talk:
            self.failure(talk, "request authenticate failure")
            self.token.write_text("good")
            talk.next("message")

    def test_a_certificate_is_renewed_at_half_its_life_and_the_stream_stays(self):
        self.istiod.days = (-1, 4 / 86400)
        with self.talk(validity=4) as talk:
            first = talk.next("certificate")["chain"]
            talk.next("message")
            start = time.monotonic()
            self.assertNotEqual(talk.next("certificate")["chain"], first)
            self.assertLess(time.monotonic() - start, 3.5)
            stats = talk.stats()
            self.assertEqual((stats["connects"], stats["failures"]), (1, 0))
            talk.tell("restart")
            talk.next("message")
        self.assertEqual(self.istiod.requests[0], (DEFAULT, 4))

    def test_only_the_leaf_is_shown_and_not_the_root(self):
        with self.talk() as talk:
            self.assertEqual(talk.next("certificate")["chain"].count("BEGIN CERTIFICATE"), 1)

    def test_a_certificate_for_somebody_else_is_not_taken(self):
        self.istiod.names = "URI:spiffe://cluster.local/ns/other/sa/other"
        with self.talk() as talk:
            self.failure(talk, f"the certificate is not for {DEFAULT}")

    def test_a_certificate_that_has_expired_is_not_taken(self):
        self.istiod.days = (-3, -2)
        with self.talk() as talk:
            self.assertRegex(self.failure(talk, "the certificate expired on"), "do the clocks agree")

    def answers_after(self, pair, text):
        """A service that shows `pair` is refused with `text`, is sent no token, and is asked again: with its right certificate it signs."""
        good, port = self.pair("again", "DNS:istiod.istio-system.svc"), self.signer.port
        self.signer.__exit__()
        bad = self.signs_with(pair, port)
        with self.talk() as talk:
            line = self.failure(talk, text)
            self.assertEqual(self.istiod.requests, [])
            bad.__exit__()
            self.signs_with(good, port)
            talk.next("message")
        return line

    def test_a_service_of_another_name_gets_no_token(self):
        line = self.answers_after(self.pair("else", "DNS:istiod.elsewhere.svc"), "it is for istiod.elsewhere.svc")
        self.assertIn("istiod.istio-system.svc", line)

    def test_a_service_whose_certificate_has_expired_gets_no_token(self):
        self.answers_after(self.pair("old", "DNS:istiod.istio-system.svc", days=(-30, -10)), "expired on 20")

    def test_a_rotated_root_counts_for_the_next_request(self):
        """And a service that the former root does not vouch for gets no token."""
        root = self.folder / "root.pem"
        root.write_bytes(Authority(self.folder / "former", "former CA").cert.read_bytes())
        with self.talk(root=root) as talk:
            self.failure(talk, "can't be trusted")
            self.assertEqual(self.istiod.requests, [])
            root.write_bytes(self.authority.cert.read_bytes())
            talk.next("message")

    def test_a_missing_token_is_named(self):
        self.token.unlink()
        with self.talk() as talk:
            self.failure(talk, f"token {self.token}: No such file")
