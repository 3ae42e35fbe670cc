# SPDX-License-Identifier: Apache-2.0
"""compile_corpus.py VECTORS OUTPUT: configurations and requests of the conformance test as inputs of compile_fuzz."""
import json
import pathlib
import struct
import sys

LIMIT = 60000
REQUESTS = 6  # of each topic


def first_bytes(case):
    for step in case["send"]:
        if "raw" in step:
            return step["raw"].encode("latin-1")
    return b""


def main(folder, output):
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for topic in sorted(pathlib.Path(folder).iterdir()):
        config = topic / "route_config.pb"
        if not config.exists() or config.stat().st_size > LIMIT:
            continue
        cases = [json.loads(line) for line in (topic / "expected.jsonl").read_text(encoding="utf-8").splitlines()]
        for case in cases[::max(1, len(cases) // REQUESTS)]:
            request = first_bytes(case)[:2000]
            (output / f"{topic.name}-{case['id']}").write_bytes(struct.pack(">H", len(request)) + request + config.read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
