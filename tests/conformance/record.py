#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a live Envoy what it does with generated configurations and requests, and writes that down in the form of vectors/.

  record.py --envoy PATH --out DIR [--seed N] [--count M]

M requests on each of some configurations, the same ones for the same seed. Root: Envoy, its servers and the client run in a network namespace of their own.
`make conformance-envoy SEED=n COUNT=m` then replays them through weft.
"""
import argparse
import asyncio
import copy
import ctypes
import json
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

import yaml

import client
import generate
import vectors
from backend import Backends
from lanes import CLONE_NEWNET

CONFIGURATIONS = 8
MIRROR_MS = 50  # after the answer, a mirror may still have to be sent


# ---- Envoy ----------------------------------------------------------------------------------------------------------------------------


def bootstrap(config, endpoints, log):
    """As istiod would have it: what a topic's resources say, with the routes written inline and an access log."""
    made = {"listeners": [], "clusters": []}
    for resource in vectors.resources(config, endpoints):
        kind = resource.pop("@type").rsplit(".", 1)[1]
        if kind == "RouteConfiguration":
            manager["route_config"] = resource
        elif kind == "Cluster":
            made["clusters"].append(resource)
        else:
            resource.pop("bind_to_port")
            manager = resource["filter_chains"][0]["filters"][0]["typed_config"]
            manager.pop("rds")
            manager.update(generate_request_id=False, access_log=[{"name": "envoy.access_loggers.file", "typed_config": {
                "@type": vectors.TYPE + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(log), "log_format": {"json_format": {
                    "route": "%ROUTE_NAME%", "cluster": "%UPSTREAM_CLUSTER_RAW%", "code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%"}}}}])
            made["listeners"].append(resource)
    runtime = {"envoy.reloadable_features.http_reject_path_with_fragment": False, "re2.max_program_size.error_level": 32768}
    return {"static_resources": made, "layered_runtime": {"layers": [{"name": "static", "static_layer": runtime}]}}


def log_entry(line):
    return {key: value for key, value in json.loads(line).items() if value not in ("-", None)}


def as_recorded(case, found):
    """What a client found, in the form of expected.jsonl: what differs from run to run gives way to its placeholder."""
    for entry in found.get("upstream", []):
        for field in entry["headers"]:
            if field[0].lower() == "x-forwarded-for":
                field[1] = field[1].replace(vectors.SERVICE, vectors.RECORDED_CLIENT)
    line = {"id": case.id, "send": [{"raw": case.sent().decode("latin-1")}]}
    for response in found["responses"]:
        text = response["body"].get("text")
        is_echo = text in found["sent_bodies"] if text else False
        names = {name.lower(): value for name, value in response["headers"]}
        if is_echo:
            response["body"] = {"echo": True}
        for field in response["headers"]:
            if field[0].lower() == "date":
                field[1] = "<date>"
            elif field[0].lower() == "x-envoy-upstream-service-time":
                field[1] = "<ms>"
            elif field[0].lower() == "content-length" and field[1] != "0" and (is_echo or "x-oracle-endpoint" in names):
                field[1] = "<echo>"
    if case.settle_ms and len(found.get("upstream", [])) > 1:
        line["unstable"] = ["upstream_order"]
    line.update({key: found[key] for key in ("responses", "ended", "connection", "left", "upstream") if key in found})
    return line


async def record(program, config, endpoints, requests, settle_ms, folder):
    backends = Backends()
    await backends.serve(config, endpoints)
    log = folder / "access.log"
    (folder / "envoy.json").write_text(json.dumps(bootstrap(copy.deepcopy(config), endpoints, log)), encoding="utf-8")
    process = subprocess.Popen([program, "-c", str(folder / "envoy.json"), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error",
                                "--file-flush-interval-msec", "5"], stdout=subprocess.DEVNULL, stderr=open(folder / "envoy.log", "wb"))
    try:
        for _ in range(200):
            if process.poll() is not None:
                raise SystemExit(f"conformance-envoy: envoy refuses the configuration:\n{(folder / 'envoy.log').read_text()[-2000:]}")
            try:
                (await asyncio.open_connection(vectors.SERVICE, vectors.PORT))[1].close()
                break
            except OSError:
                await asyncio.sleep(0.05)
        lines = []
        for number, text in enumerate(requests):
            case = vectors.Case("generated", f"r-{number:04}", [{"data": text.encode("latin-1")}], {}, settle_ms=settle_ms)
            lines.append(as_recorded(case, await client.run_case(case, backends)))
        await asyncio.sleep(0.2)
    finally:
        process.terminate()
        process.wait()
        backends.drop()
        for server in backends.servers.values():
            server.close()
    entries = [log_entry(line) for line in log.read_text().splitlines()]
    if len(entries) != len(lines):
        raise SystemExit(f"conformance-envoy: {len(entries)} entries in Envoy's log for {len(lines)} requests")
    for line, entry in zip(lines, entries):
        line["envoy"] = [entry]
    return lines


def enter_namespace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{vectors.SERVICE}/32", "dev", "lo"], check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    shutil.rmtree(out, ignore_errors=True)
    enter_namespace()
    print(f"conformance-envoy: seed {options.seed}, {CONFIGURATIONS} configurations, {options.count} requests each")
    for number in range(CONFIGURATIONS):
        r = random.Random(options.seed * 1000 + number)
        config, endpoints = generate.configuration(r), generate.endpoints()
        requests = [generate.request(r, config) for _ in range(options.count)]
        settle_ms = MIRROR_MS if generate.mirrors(config) else 0
        topic = out / f"seed-{options.seed}-{number}"
        topic.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as folder:
            lines = asyncio.run(record(options.envoy, config, endpoints, requests, settle_ms, pathlib.Path(folder)))
        (topic / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        (topic / "requests.yaml").write_text(yaml.safe_dump([{"id": line["id"], "settle_ms": settle_ms} for line in lines]), encoding="utf-8")
        (topic / "endpoints.json").write_text(json.dumps(endpoints), encoding="utf-8")
        with open(topic / "expected.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
