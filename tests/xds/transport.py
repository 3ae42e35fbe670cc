# SPDX-License-Identifier: Apache-2.0
"""Plaintext gRPC against a server that breaks every rule."""
import hashlib
import struct
import time
import unittest

import raw
from raw import GRPC, OK, Server, message
from talk import Talk

CANCEL, REFUSED_STREAM, ENHANCE_YOUR_CALM, NO_ERROR = 8, 7, 11, 0


def sha(body):
    return hashlib.sha256(body).hexdigest()


def answer(body):
    """A script: one message, then the stream stays."""
    def script(connection):
        connection.headers(GRPC)
        connection.data(message(body))
        connection.read_for(30)
    return script


def fresh(address, **options):
    return Talk(address, **{"retry_min": 10, "retry_max": 100, **options})


class Transport(unittest.TestCase):
    def closed(self, script, **options):
        """How the first call of a server with that script ends, and what was seen before."""
        with Server(script, answer(b"next")) as server, fresh(f"grpc://127.0.0.1:{server.port}", **options) as talk:
            talk.next("opened")
            why = talk.next("closed")
            talk.next("message", sha256=sha(b"next"))  # it begins anew, whatever happened
            return why, talk

    def test_both_sides_talk_at_once(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"first, unasked"))
            while True:
                connection.data(message(b"you said " + connection.read_message()))

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("opened")
            talk.next("message", sha256=sha(b"first, unasked"))
            for body in (b"one", b"", b"x" * 100_000, b"three"):
                self.assertEqual(talk.send(body), 0)
                talk.next("message", sha256=sha(b"you said " + body))
            time.sleep(0.1)
            self.assertEqual(talk.send(b"after a pause"), 0)
            talk.next("message", sha256=sha(b"you said after a pause"))
            stats = talk.stats()
            self.assertEqual((stats["messages_sent"], stats["messages_received"], stats["queued_bytes"]), (5, 6, 0))
            self.assertEqual(stats["bytes_sent"], 100_021)

    def test_bytes_that_come_one_by_one_make_whole_messages(self):
        def script(connection):
            connection.headers(GRPC)
            for byte in message(b"slow but whole") + message(b"") + message(b"again"):
                connection.data(bytes([byte]))
                time.sleep(0.002)
            connection.read_for(30)

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            for body in (b"slow but whole", b"", b"again"):
                talk.next("message", sha256=sha(body))

    def test_a_connection_cut_in_the_middle_of_a_message_says_so(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.data(message(b"half", length=1000))

        why, talk = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("in the middle of a message of 1000 bytes", why["reason"])
        self.assertEqual([e["sha256"] for e in talk.past if e["event"] == "message"][0], sha(b"whole"))

    def test_a_stream_that_ends_in_the_middle_of_a_message_is_broken_although_its_status_is_ok(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"half", length=9))
            connection.headers(OK, end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("in the middle of a message of 9 bytes", why["reason"])

    def test_a_reset_stream_is_broken_and_its_code_is_named(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.reset(CANCEL)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("CANCEL", why["reason"])

    def test_a_refused_stream_begins_anew(self):
        def script(connection):
            connection.reset(REFUSED_STREAM)
            connection.read_for(1)

        with Server(script, script, answer(b"in the end")) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("message", sha256=sha(b"in the end"))

    def test_goaway_without_error_ends_the_call_when_the_server_closes(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.goaway(NO_ERROR, last=0x7fffffff, text=b"max_age")
            connection.read_for(0.05)
            connection.goaway(NO_ERROR)
            connection.data(message(b"still served"))
            connection.read_for(0.05)

        why, talk = self.closed(script)
        self.assertEqual(why["kind"], "ended")
        self.assertIn(sha(b"still served"), [e["sha256"] for e in talk.past if e["event"] == "message"])
        self.assertIn("GOAWAY NO_ERROR", why["reason"])

    def test_goaway_with_an_error_is_told(self):
        def script(connection):
            connection.headers(GRPC)
            connection.goaway(ENHANCE_YOUR_CALM, text=b"too_many_pings")

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn('GOAWAY ENHANCE_YOUR_CALM "too_many_pings"', why["reason"])

    def test_an_answer_that_is_only_trailers_has_its_status_and_words(self):
        def script(connection):
            connection.headers(GRPC + [("grpc-status", "3"), ("grpc-message", "node%20id%3A%20x%E2%82%AC%")], end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 3, "node id: x€%"))
        self.assertIn("INVALID_ARGUMENT: node id: x", why["reason"])

    def test_an_end_that_leaves_the_clients_half_open_is_an_end(self):
        def script(connection):
            connection.resets = False
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.headers([("grpc-status", "8"), ("grpc-message", "full")], end=True)
            connection.read_for(30)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 8, "full"))

    def test_nothing_that_comes_in_one_read_is_lost(self):
        def script(connection):
            connection.collect = b""
            connection.headers(GRPC)
            connection.data(message(b"one") + message(b"two"))
            connection.headers([("grpc-status", "7"), ("grpc-message", "no")], end=True)
            connection.goaway(0)
            connection.sock.sendall(connection.collect)
            connection.read_for(1)

        why, talk = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 7, "no"))
        self.assertEqual([e["sha256"] for e in talk.past if e["event"] == "message"][:2], [sha(b"one"), sha(b"two")])

    def test_a_silent_server_is_given_up(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.answers_pings = False
            connection.read_for(30)

        why, _ = self.closed(script, keepalive=1)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("no sign of life", why["reason"])
        self.assertLess(why["lived_ms"], 4000)

    def test_a_status_after_messages_is_read(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.headers([("grpc-status", "14"), ("grpc-message", "going away")], end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["grpc_status"], why["grpc_message"]), ("status", 14, "going away"))

    def test_an_end_without_error_is_no_failure(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"))
            connection.headers(OK, end=True)
            connection.read_for(1)

        with Server(script, answer(b"next")) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            self.assertEqual(talk.next("closed")["kind"], "ended")
            talk.next("message", sha256=sha(b"next"))
            self.assertEqual((talk.stats()["failures"], talk.stats()["last_error"]), (0, ""))

    def test_an_end_without_a_status_is_broken(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"whole"), end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("without a status", why["reason"])

    def test_what_is_no_grpc_server_is_told_by_content_type_and_text(self):
        def script(connection):
            connection.headers([(":status", "200"), ("content-type", "text/html")])
            connection.data(b"<h1>Welcome\nto nginx</h1>", end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["http_status"]), ("http", 200))
        self.assertIn('content-type "text/html"; this is no gRPC server: "<h1>Welcome to nginx</h1>"', why["reason"])

    def test_a_proxys_503_is_told_from_the_servers_own_words(self):
        def script(connection):
            connection.headers([(":status", "503"), ("content-type", "text/plain")])
            connection.data(b"no healthy upstream", end=True)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["http_status"]), ("http", 503))
        self.assertIn("a proxy before istiod can't reach it", why["reason"])
        self.assertIn("no healthy upstream", why["reason"])

    def test_a_page_without_end_is_not_read_to_its_end(self):
        def script(connection):
            connection.headers([(":status", "404"), ("content-type", "text/html")])
            while True:
                connection.data(b"y" * 1000)
                connection.read_for(0.01)

        why, _ = self.closed(script)
        self.assertEqual((why["kind"], why["http_status"]), ("http", 404))

    def test_a_message_of_300_mib_is_refused_before_it_is_read(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(struct.pack(">BI", 0, 300 << 20) + b"x" * 1000)
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "malformed")
        self.assertIn("a message of 314572800 bytes, the limit is 209715200", why["reason"])

    def test_a_compressed_message_is_refused(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"zip", flags=1))
            connection.read_for(1)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "malformed")
        self.assertIn("compressed", why["reason"])

    def test_a_server_of_http_1_is_named(self):
        def script(connection):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            connection.settimeout(1)
            connection.recv(1000)

        with Server(script, kind=None) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            why = talk.next("closed")
            self.assertIn(why["kind"], ("broken", "connect"))
            self.assertIn("HTTP", why["reason"])

    def test_a_server_that_breaks_http_2_is_left(self):
        def script(connection):
            connection.headers(GRPC)
            connection.frame(raw.DATA, 0, 1, b"x" * 20000)  # over SETTINGS_MAX_FRAME_SIZE
            connection.read_for(30)

        why, _ = self.closed(script)
        self.assertEqual(why["kind"], "broken")
        self.assertIn("HTTP/2", why["reason"])

    def test_a_server_that_resets_again_and_again_is_asked_ever_less_often(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"so far"))
            connection.read_for(0.02)

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}", retry_max=400) as talk:
            pauses = [talk.next("closed")["retry_ms"] for _ in range(9)]
        for i, pause in enumerate(pauses):
            step = min(400, 10 << i)
            self.assertTrue(max(10, step // 2) <= pause <= step, pauses)
        # one line for each kind of end, not one a time
        self.assertLessEqual(len([line for line in talk.log if "tries again" in line]), 2)

    def test_a_call_that_lived_longer_than_the_longest_pause_begins_anew_at_once(self):
        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"so far"))
            connection.read_for(0.3)

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}", retry_max=200) as talk:
            for _ in range(3):
                why = talk.next("closed")
                self.assertGreaterEqual(why["lived_ms"], 200)
                self.assertEqual(why["retry_ms"], 0)

    def test_a_server_that_is_away_is_found_when_it_is_back(self):
        with Server(answer(b"x")) as server:
            port = server.port
        with fresh(f"grpc://127.0.0.1:{port}") as talk:
            self.assertEqual(talk.next("closed")["kind"], "connect")
            self.assertNotEqual(talk.send(b"nobody hears"), 0)
            time.sleep(0.3)
            with Server(answer(b"back"), port=port):
                talk.next("message", sha256=sha(b"back"))
            self.assertEqual(talk.next("closed")["kind"], "broken")
            self.assertEqual(talk.next("closed")["kind"], "connect")
        self.assertTrue(any("answers again" in line for line in talk.log))
        self.assertLess(len(talk.log), 8)

    def test_a_restart_ends_the_call_and_begins_one(self):
        with Server(answer(b"x")) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("message")
            talk.tell("restart")
            why = talk.next("closed")
            self.assertEqual((why["kind"], why["retry_ms"], why["was_opened"]), ("restarted", 0, True))
            talk.next("opened")
            talk.next("message")
            self.assertEqual(talk.stats()["failures"], 0)

    def test_a_stream_may_be_freed_by_its_own_event(self):
        def script(connection):
            connection.headers(GRPC)
            connection.read_message()
            connection.data(message(b"one") + message(b"two"))
            connection.read_for(30)

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("opened")
            talk.tell("free in callback")
            talk.send(b"go")
            talk.next("freed")
            time.sleep(0.1)
            talk.tell("quit")
            self.assertIsNone(talk.events.get(timeout=10))

    def test_no_ping_is_sent_and_those_of_the_server_are_answered(self):
        seen = {}

        def script(connection):
            connection.headers(GRPC)
            connection.data(message(b"one"))
            connection.frame(raw.PING, 0, 0, b"12345678")
            connection.read_for(0.5)
            seen.update(connection.got)
            connection.data(message(b"done"))
            connection.read_for(30)

        with Server(script) as server, fresh(f"grpc://127.0.0.1:{server.port}") as talk:
            talk.next("message", sha256=sha(b"done"))
        self.assertEqual(seen.get(raw.PING), 1)

    def test_a_bad_address_is_refused_with_the_reason(self):
        talk = Talk("istiod:15010")
        talk.process.wait(timeout=10)
        for reader in talk.readers:
            reader.join()
        self.assertIn("istiod:15010: it must begin with grpc://, grpcs://", talk.log[0])


