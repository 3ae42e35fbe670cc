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
import vectors
from backend import Backends
from lanes import CLONE_NEWNET

CONFIGURATIONS = 8
CLUSTERS = 6
SEGMENTS = ["api", "v1", "V1", "item", "items", "a", "b", "x.y", "%41", "a b".replace(" ", "+"), "~u", "..", "."]
HEADERS = ["x-user", "x-version", "end-user", "cookie", "accept-language", "user-agent"]
VALUES = ["jason", "Jason", "v1", "v2", "10", "-3", "abc", "a.b", "", "ab"]
REGEXES = ["[a-z]+", ".*", "v[0-9]+", "(jason|admin)", "a.b", "[^a]*", "\\d+", "a{1,3}", "(?i)JASON"]


# ---- configurations ----------------------------------------------------------------------------------------------------------------


def path_of(r, most=3):
    return "/" + "/".join(r.choice(SEGMENTS[:9]) for _ in range(r.randint(0, most)))


def string_match(r):
    kind = r.choice(["exact", "prefix", "suffix", "contains", "safe_regex"])
    if kind == "safe_regex":
        return {kind: {"regex": r.choice(REGEXES)}}
    value = {kind: r.choice([v for v in VALUES if v])}
    return {**value, "ignore_case": True} if r.random() < 0.3 else value


def header_match(r):
    matcher = {"name": r.choice(HEADERS)}
    kind = r.random()
    if kind < 0.6:
        matcher["string_match"] = string_match(r)
    elif kind < 0.8:
        matcher["present_match"] = r.random() < 0.7
    else:
        start = r.randint(-5, 10)
        matcher["range_match"] = {"start": start, "end": start + r.randint(1, 10)}
    if r.random() < 0.3:
        matcher["invert_match"] = True
    if r.random() < 0.2:
        matcher["treat_missing_header_as_empty"] = True
    return matcher


def query_match(r):
    matcher = {"name": r.choice("abc")}
    matcher.update({"string_match": string_match(r)} if r.random() < 0.7 else {"present_match": True})
    return matcher


def match_of(r):
    kind = r.random()
    if kind < 0.4:
        match = {"prefix": path_of(r)}
    elif kind < 0.6:
        match = {"path": path_of(r)}
    elif kind < 0.8:
        separated = path_of(r).rstrip("/")
        match = {"path_separated_prefix": separated} if separated else {"prefix": "/"}
    else:
        match = {"safe_regex": {"regex": path_of(r, 1).replace(".", "\\.") + r.choice(["", "/.*", "[a-z0-9/]*", "(/v[0-9])?"])}}
    if "safe_regex" not in match and r.random() < 0.2:
        match["case_sensitive"] = False
    if r.random() < 0.4:
        match["headers"] = [header_match(r) for _ in range(r.randint(1, 2))]
    if r.random() < 0.25:
        match["query_parameters"] = [query_match(r)]
    return match


def edits_of(r, prefix):
    edits = {}
    if r.random() < 0.3:
        edits[f"{prefix}_headers_to_add"] = [
            {"header": {"key": r.choice(["x-added", "x-user", "x-version"]), "value": r.choice(["one", "two"])},
             "append_action": r.choice(["APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"])}
            for _ in range(r.randint(1, 2))]
    if r.random() < 0.15:
        edits[f"{prefix}_headers_to_remove"] = [r.choice(["x-user", "x-version", "x-oracle-cluster"])]
    return edits


def action_of(r, match):
    kind = r.random()
    if kind < 0.6:
        route = {"cluster": f"c{r.randrange(CLUSTERS)}"}
        if r.random() < 0.3 and "safe_regex" not in match:
            route["prefix_rewrite"] = path_of(r)
        if r.random() < 0.2:
            route["host_rewrite_literal"] = "rewritten.test"
        return {"route": route}
    if kind < 0.8:
        return {"direct_response": {"status": r.choice([200, 201, 403, 503]), "body": {"inline_string": r.choice(["hello", "no", "x" * 300])}}}
    redirect = {"response_code": r.choice(["MOVED_PERMANENTLY", "FOUND", "TEMPORARY_REDIRECT"])}
    if r.random() < 0.5:
        redirect["host_redirect"] = "elsewhere.test"
    if r.random() < 0.3:
        redirect["https_redirect"] = True
    if r.random() < 0.4:
        redirect["path_redirect"] = path_of(r)
    return {"redirect": redirect}


def configuration(r):
    hosts = []
    domains = ["a.test", "b.test", "*.a.test", "*.test", "www.*", "*"]
    r.shuffle(domains)
    for index, domain in enumerate(domains[:r.randint(2, 5)]):
        routes = []
        for _ in range(r.randint(2, 9)):
            match = match_of(r)
            routes.append({"match": match, **action_of(r, match), **edits_of(r, "request"), **edits_of(r, "response")})
        hosts.append({"name": f"h{index}", "domains": [domain], "routes": routes, **edits_of(r, "request")})
    return {"route_config": {"name": "80", "virtual_hosts": hosts}, "clusters": [{"name": f"c{n}"} for n in range(CLUSTERS)]}


# ---- requests ------------------------------------------------------------------------------------------------------------------------


def target_of(r, config):
    host = r.choice(config["route_config"]["virtual_hosts"])
    match = r.choice(host["routes"])["match"]
    path = next((match[k] for k in ("path", "prefix", "path_separated_prefix") if k in match), None) or path_of(r)
    kind = r.random()
    if kind < 0.3:
        path = path.rstrip("/") + "/" + r.choice(SEGMENTS)
    elif kind < 0.4:
        path += r.choice(["x", "/", "//", ";p=1"])
    elif kind < 0.5:
        path = path.upper() if r.random() < 0.5 else path.swapcase()
    elif kind < 0.6:
        path = path_of(r)
    if r.random() < 0.4:
        path += "?" + "&".join(f"{r.choice('abc')}={r.choice(VALUES)}" for _ in range(r.randint(1, 3)))
    return path or "/"


def request(r, config):
    host = r.choice(["a.test", "A.test", "b.test", "x.a.test", "www.org", "c.test", "a.test:8080", "none"])
    method = r.choice(["GET", "GET", "GET", "HEAD", "POST", "DELETE"])
    lines = [f"{method} {target_of(r, config)} HTTP/1.1", f"Host: {host}"]
    for _ in range(r.randint(0, 3)):
        lines.append(f"{r.choice(HEADERS)}: {r.choice(VALUES)}")
    body = ""
    if method == "POST":
        body = "x" * r.choice([0, 5, 700])
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines) + "\r\n\r\n" + body


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
            elif field[0].lower() == "content-length" and (is_echo or "x-oracle-endpoint" in names):
                field[1] = "<echo>"
    line.update({key: found[key] for key in ("responses", "ended", "connection", "left", "upstream") if key in found})
    return line


async def record(program, config, endpoints, requests, folder):
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
            case = vectors.Case("generated", f"r-{number:04}", [{"data": text.encode("latin-1")}], {})
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
        config = configuration(r)
        endpoints = {f"c{n}": [f"127.78.{n}.1:18081"] for n in range(CLUSTERS)}
        requests = [request(r, config) for _ in range(options.count)]
        topic = out / f"seed-{options.seed}-{number}"
        topic.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as folder:
            lines = asyncio.run(record(options.envoy, config, endpoints, requests, pathlib.Path(folder)))
        (topic / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        (topic / "endpoints.json").write_text(json.dumps(endpoints), encoding="utf-8")
        with open(topic / "expected.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
