#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The corpus of xds_fuzz: recordings of a real istiod, each response behind its size.

  xds_corpus.py RECORDINGS OUTPUT      each stream up to 64 KiB, and each with the first two resources of a response only
"""
import gzip
import pathlib
import struct
import sys

LIMIT = 64 << 10


RESOURCES = 2 << 3 | 2


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def cut(message, most):
    """With `most` resources: all fields of a DiscoveryResponse are length-delimited."""
    at, found, out = 0, 0, b""
    while at < len(message):
        key, inner = varint(message, at)
        size, inner = varint(message, inner)
        found += key == RESOURCES
        if key != RESOURCES or found <= most:
            out += message[at:inner + size]
        at = inner + size
    return out


def main(recordings, output):
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    for folder in sorted(pathlib.Path(recordings).iterdir()):
        messages = [gzip.decompress(path.read_bytes()) for path in sorted(folder.glob("*-resp-*.pb.gz"))]
        for name, wanted in (folder.name, messages), (folder.name + "-few", [cut(message, 2) for message in messages]):
            stream = b""
            for message in wanted:
                part = struct.pack(">I", len(message)) + message
                if len(stream) + len(part) > LIMIT:
                    break
                stream += part
            if stream:
                (output / name).write_bytes(stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
