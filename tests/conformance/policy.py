# SPDX-License-Identifier: Apache-2.0
"""What counts as the same: vectors/policy.json and tests/conformance/README.md, as code. Every difference is one line of text."""
import email.utils
import hashlib
import json
import re

import vectors

# What Envoy adds for its own sake. With --decorate none weft leaves them out; what it sends all the same must be right.
UPSTREAM_DECORATIONS = {"x-forwarded-proto", "x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms", "x-envoy-original-path",
                        "x-envoy-original-host", "x-request-id"}
DOWNSTREAM_DECORATIONS = {"server", "date", "x-envoy-upstream-service-time", "x-envoy-attempt-count"}
IS_CHUNKED = re.compile(rb"transfer-encoding:[ \t]*chunked", re.IGNORECASE)
CHUNK_EXTENSION_CONTROL = re.compile(rb"\r\n[0-9a-fA-F]+;[^\r\n]*[\x00-\x08\x0b-\x1f\x7f\n]")


class Comparison:
    def __init__(self, case, found, decorate, pod_ip):
        self.case = case
        self.expected = case.expected
        self.found = found
        self.decorate = decorate == "envoy"
        self.pod_ip = pod_ip
        self.differences = []
        self.is_stricter = False

    def differ(self, text):
        self.differences.append(text)

    def check(self, what, expected, found):
        if expected != found:
            self.differ(f"{what}: Envoy {shown(expected)}, weft {shown(found)}")

    def run(self):
        unstable = set(self.expected.get("unstable", []))
        if self.stricter():
            self.is_stricter = True
            return self
        if "responses" not in unstable:
            self.responses()
        for name in ("ended", "tunnel"):
            if name not in unstable:
                self.check(name, self.expected.get(name), self.found.get(name))
        if "left" not in unstable and "left" in self.expected:
            self.check("left", self.shape_of_left(self.expected["left"]), self.shape_of_left(self.found.get("left", "")))
        elif "left" not in unstable and self.found.get("left"):
            self.differ(f"left: weft {shown(self.found['left'])}")
        if "connection" in self.expected and "connection" not in unstable:
            closed = {"closing": "closed"}
            self.check("connection", closed.get(self.expected["connection"], self.expected["connection"]), self.found.get("connection"))
        if "upstream" not in unstable:
            self.upstream("upstream_order" not in unstable)
        return self

    # ---- downstream ------------------------------------------------------------------------------------------------------------------

    def responses(self):
        expected, found = self.expected["responses"], self.found["responses"]
        if len(expected) != len(found):
            self.check("statuses", [r["status"] for r in expected], [r["status"] for r in found])
            return
        for number, (ours, theirs) in enumerate(zip(found, expected)):
            self.response(f"response {number}" if len(expected) > 1 else "response", theirs, ours)

    def response(self, what, expected, found):
        for name in ("status", "version", "body_end", "trailers"):
            self.check(f"{what} {name}", expected.get(name), found.get(name))
        self.check(f"{what} interim", [self.interim(i) for i in expected.get("interim", [])], [self.interim(i) for i in found.get("interim", [])])
        self.body(what, expected["body"], found["body"])
        self.downstream_headers(what, by_name(expected["headers"]), by_name(found["headers"]), found)

    @staticmethod
    def interim(one):
        return one["status"], by_name(one["headers"])

    def body(self, what, expected, found):
        sent = self.found.get("sent_bodies", [])
        if expected.get("echo"):
            echoed = [found_body(b) for b in sent]
            if found not in echoed:
                self.differ(f"{what} body: Envoy passed what the server sent, weft {shown(found)}")
            return
        text = expected.get("text", "")
        if text.startswith("upstream connect error") and found.get("text"):
            return
        if text.startswith('{"cluster": '):
            # the server's JSON, written down as text: it says what the server saw, which the comparison upstream looks at
            if found not in [found_body(b) for b in sent]:
                self.differ(f"{what} body: Envoy passed what the server sent, weft {shown(found)}")
            return
        self.check(f"{what} body", expected, found)

    def downstream_headers(self, what, expected, found, response):
        for name in sorted(set(expected) | set(found)):
            theirs, ours = expected.get(name, []), found.get(name, [])
            if not self.decorate and name in DOWNSTREAM_DECORATIONS and name != "date":
                continue
            if name == "date":
                self.date(what, theirs, ours)
            elif name == "x-envoy-upstream-service-time" and theirs == ["<ms>"]:
                if not (len(ours) == 1 and ours[0].isdigit()):
                    self.differ(f"{what} {name}: weft {shown(ours)}")
            elif name == "content-length" and theirs and theirs != ["0"] and self.is_of_echo(expected, response):
                self.content_length(what, ours, response)
            else:
                self.check(f"{what} {name}", [self.placed(v) for v in theirs], ours)

    def is_of_echo(self, expected, response):
        """Is it the length of what the server said of its request? That differs by what Envoy adds to a request."""
        return (expected["content-length"] == ["<echo>"] or "x-oracle-endpoint" in expected) and self.found.get("sent_bodies")

    def content_length(self, what, ours, response):
        body = response["body"]
        lengths = [body.get("length", len(body.get("text", "")))]
        if not lengths[0]:  # an answer to HEAD
            lengths = [len(sent) for sent in self.found["sent_bodies"]]
        if len(ours) != 1 or ours[0] not in map(str, lengths):
            self.differ(f"{what} content-length: weft {shown(ours)} for {lengths} bytes")

    def date(self, what, theirs, ours):
        if theirs == ["<date>"]:
            if not ours and not self.decorate:
                return
            if len(ours) == 1 and email.utils.parsedate(ours[0]) and ours[0].endswith(" GMT"):
                return
        self.check(f"{what} date", theirs, ours)

    def shape_of_left(self, text):
        """Bytes behind the last response: where there is a response in them, its status, its body and what the configuration decides."""
        before, mark, response = text.partition("HTTP/1.1 ")
        if not mark:
            return text
        head, _, body = response.partition("\r\n\r\n")
        lines = head.split("\r\n")
        kept = sorted(line for line in lines[1:] if line.split(":")[0].lower() not in DOWNSTREAM_DECORATIONS | {"content-length"})
        return [before, lines[0].split(" ")[0], kept, "" if body.startswith('{"cluster": ') else body]

    # ---- upstream --------------------------------------------------------------------------------------------------------------------

    def upstream(self, is_ordered):
        expected, found = list(self.expected["upstream"]), list(self.found["upstream"])
        flags = ",".join(e.get("flags", "") for e in self.expected.get("envoy", []))
        if ("DPE" in flags or "DC" in flags) and (not found or not expected) and not any(e["body_length"] is not None for e in found + expected):
            return  # a request that fails in its body may have reached a server or not
        if not is_ordered:
            order = lambda e: (e["cluster"], e["endpoint"], e["request_line"])  # noqa: E731
            expected.sort(key=order)
            found.sort(key=order)
        if [self.place(e) for e in expected] != [self.place(e) for e in found]:
            self.check("upstream", [self.place(e) for e in expected], [self.place(e) for e in found])
            return
        for number, (theirs, ours) in enumerate(zip(expected, found)):
            self.upstream_request(f"upstream {number}" if len(expected) > 1 else "upstream", theirs, ours, flags)

    @staticmethod
    def place(entry):
        return f"{entry['cluster']}/{entry['endpoint']} {entry['request_line']}"

    def upstream_request(self, what, expected, found, flags):
        for name in ("framing", "body_length", "body_sha256", "trailers", "tunnel"):
            if ("DPE" in flags or "DC" in flags) and name != "tunnel" and expected.get("body_length") is None:
                continue
            self.check(f"{what} {name}", expected.get(name), found.get(name))
        theirs, ours = by_name(expected["headers"]), by_name(found["headers"])
        sent = self.client_sent()
        for name in sorted(set(theirs) | set(ours)):
            wanted = [self.placed(v) for v in theirs.get(name, [])]
            got = ours.get(name, [])
            if not self.decorate and name in UPSTREAM_DECORATIONS and wanted:
                if got == wanted or (not got and name not in sent) or (name in sent and got == sent[name]):
                    continue
            if wanted == ["<local_address>"] and len(got) == 1:
                continue
            self.check(f"{what} {name}", wanted, got)

    def client_sent(self):
        """Header lines of the client's own, of all requests in the case."""
        fields = {}
        for line in self.case.sent().split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if colon:
                fields.setdefault(name.decode("latin-1").lower(), []).append(value.strip(b" \t").decode("latin-1"))
        return fields

    def placed(self, value):
        """A recorded header value with this machine's addresses."""
        if not isinstance(value, str):
            return value
        value = value.replace(vectors.RECORDED_SERVICE, vectors.SERVICE)
        value = re.sub(r"\b127\.0\.0\.1\b", self.pod_ip, value)
        return value.replace("<client_port>", str(self.found.get("client_port")))

    # ---- stricter --------------------------------------------------------------------------------------------------------------------

    def stricter(self):
        """A clean 400 where Envoy repairs a request: bare LF or CR, folding, two Host lines, a control byte in a chunk extension."""
        found = self.found["responses"]
        if not found or found[-1]["status"] != 400 or self.found.get("connection", "closed") != "closed" or self.found.get("left"):
            return False
        expected = self.expected["responses"]
        if len(expected) >= len(found) and expected[len(found) - 1]["status"] == 400:
            return False
        return is_repaired(self.case.sent())


def is_repaired(sent):
    """May weft answer 400 where Envoy repairs the request or lets it pass (README.md says when)?"""
    for piece in sent.split(b"\r\n\r\n"):
        if b" HTTP/" not in piece:
            continue
        lines = piece.lower().split(b"\r\n")
        if re.search(rb"(?<!\r)\n|\r(?!\n)", piece) or any(line[:1] in (b" ", b"\t") for line in lines[1:] if line):
            return True
        if sum(line.startswith(b"host:") for line in lines) > 1:
            return True
    if not IS_CHUNKED.search(sent):
        return False
    return CHUNK_EXTENSION_CONTROL.search(sent) is not None or re.search(rb"(?<!\r)\n", sent) is not None or b" HTTP/1.0\r\n" in sent or lacks_chunk_end(sent)


def lacks_chunk_end(sent):
    """Is the data of some chunk not followed by a CRLF?"""
    body = sent.partition(b"\r\n\r\n")[2]
    while True:
        size = re.match(rb"([0-9a-fA-F]+)[^\r\n]*\r\n", body)
        if not size or not int(size[1], 16):
            return False
        body = body[size.end() + int(size[1], 16):]
        if body[:2] != b"\r\n":
            return len(body) >= 2
        body = body[2:]


def found_body(text):
    data = text.encode("latin-1")
    if len(data) <= 2000:
        return {"text": text}
    return {"sha256": hashlib.sha256(data).hexdigest(), "length": len(data)}


def by_name(headers):
    fields = {}
    for name, value in headers:
        fields.setdefault(name.lower(), []).append(value)
    return fields


def shown(value):
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 300 else text[:290] + "..."


def compare(case, found, decorate, pod_ip):
    return Comparison(case, found, decorate, pod_ip).run()
