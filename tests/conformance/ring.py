# SPDX-License-Identifier: Apache-2.0
"""Cases whose endpoint depends on the client's address: Envoy's client had another one than a pod has. Where the recorded endpoint is the one
that the rule gives to the recorded address, the same rule says what a pod's address leads to. Written after XXH64's specification and
Envoy's documentation of RING_HASH, not after weft's code."""
import bisect
import copy
import math
import struct

from vectors import RECORDED_CLIENT

MASK = (1 << 64) - 1
P1, P2, P3, P4, P5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
MINIMUM_RING_SIZE = 1024


def rotate(value, by):
    return (value << by | value >> (64 - by)) & MASK


def lane_round(lane, word):
    return rotate((lane + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data):
    """Seed 0, texts of less than 32 bytes."""
    assert len(data) < 32
    h = (P5 + len(data)) & MASK
    at = 0
    while at + 8 <= len(data):
        h = (rotate(h ^ lane_round(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        h = (rotate(h ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def ring_choice(addresses, text):
    """Index of the endpoint; all of the same weight."""
    each = math.ceil(MINIMUM_RING_SIZE / len(addresses))
    ring = sorted((xxh64(f"{address}_{i}".encode()), index) for index, address in enumerate(addresses) for i in range(each))
    return ring[bisect.bisect_left(ring, (xxh64(text.encode()), -1)) % len(ring)][1]


def hashes_source_alone(topic, case):
    sent = case.sent().lower()
    if b"\nx-forwarded-for:" in sent:
        return False
    path = sent.split()[1].decode("latin-1") if len(sent.split()) > 1 else ""
    for host in topic.config.get("route_config", {}).get("virtual_hosts", []):
        for route in host.get("routes", []):
            if route.get("match", {}).get("path") == path:
                return route.get("route", {}).get("hash_policy") == [{"connection_properties": {"source_ip": True}}]
    return False


def for_client(topic, case, client):
    """The case as it is expected for a client of this address."""
    expected = case.expected
    if not hashes_source_alone(topic, case) or len(expected.get("upstream", [])) != 1:
        return case
    upstream = expected["upstream"][0]
    addresses = topic.endpoints[upstream["cluster"]]
    if ring_choice(addresses, RECORDED_CLIENT) != upstream["endpoint"]:
        return case
    moved = copy.deepcopy(case)
    chosen = ring_choice(addresses, client)
    moved.expected["upstream"][0]["endpoint"] = chosen
    for header in moved.expected["responses"][0]["headers"]:
        if header[0] == "x-oracle-endpoint":
            header[1] = str(chosen)
    return moved
