# SPDX-License-Identifier: Apache-2.0
"""http1_corpus.py VECTORS OUTPUT: the requests of the conformance test as inputs of http1_fuzz, each once."""
import hashlib
import json
import pathlib
import sys

REQUEST, CHUNKED = b"\0", b"\3"
LIMIT = 4000
CASES = 150  # of each topic


def inputs(case):
    for step in case.get("send", ()):
        raw = step.get("raw", "").encode("latin-1")
        if not raw or len(raw) > LIMIT:
            continue
        yield REQUEST + raw
        head, _, body = raw.partition(b"\r\n\r\n")
        if body and b"chunked" in head.lower():
            yield CHUNKED + body


def main(folder, output):
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for topic in sorted(pathlib.Path(folder).iterdir()):
        expected = topic / "expected.jsonl"
        if not expected.exists():
            continue
        cases = [json.loads(line) for line in expected.read_text(encoding="utf-8").splitlines()]
        for case in cases[::max(1, len(cases) // CASES)]:
            for data in inputs(case):
                (output / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
