#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays what a real Envoy did, through weft: the engine on the host, the engine in the kernel, and a running weftd with real sockets.

  conformance.py --build DIR [--vectors DIR] [--topics "a b"] [--cases REGEX] [--decorate none|envoy] [--verbose] [--only engine|weftd]
                 [--minimum FILE | --all] [-- options of weftd]

Prints a line a topic: how many cases came out as Envoy's. `not yet` are cases that reach a route that weft refuses by name (503): they count as
not matched. --minimum: tests/conformance/minimum, or one like it; a topic that falls below is a failure. --all: any
case that does not match is one. Root. Status 0: none did.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import policy
import vectors
from lanes import Lanes
from mesh import Mesh, Refused

HERE = pathlib.Path(__file__).resolve().parent
HEAD_BYTES_MAX = 200000
AGAIN_MAX = 80  # more than that is no accident


class Row:
    """What is printed of a topic."""

    def __init__(self, topic):
        self.topic = topic
        self.total = len(topic.cases) or len(topic.configurations)
        self.host = self.kernel = self.matched = None
        self.askable = 0  # cases that the kernel is there for
        self.not_yet = self.stricter = self.again = 0
        self.seconds = 0.0
        self.notes = []


# ---- the engine ------------------------------------------------------------------------------------------------------------------------


def first_request(case):
    """The bytes of a case's first request, as one write."""
    data = b""
    for step in case.steps:
        data += step["data"]
        if step["data"] and not step.get("more"):
            break
    return data[:HEAD_BYTES_MAX].decode("latin-1")


def engine_decisions(options, topics, folder):
    """{topic: {id: {"host": ..., "bpf": ...}}}; where the configuration is refused {"failure": why}."""
    words = []
    for topic in topics:
        mesh, cases, answers = (folder / f"{topic.name}.{kind}" for kind in ("mesh", "cases", "answers"))
        mesh.write_text(vectors.mesh_file(topic, []), encoding="utf-8")
        with open(cases, "w", encoding="utf-8") as file:
            for case in topic.cases:
                file.write(json.dumps({"id": case.id, "data": first_request(case)}, ensure_ascii=False) + "\n")
        words += [str(mesh), str(cases), str(answers)]
    build = pathlib.Path(options.build)
    done = subprocess.run([str(build / "tests/conformance/engine"), str(build / "tests/bpf/engine.bpf.o"), *words],
                          stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    if done.returncode:
        raise SystemExit(f"conformance: the engine ended with {done.returncode}: {done.stderr.strip()}")
    return {topic.name: {one.get("id", "failure"): one for one in vectors.read_lines(words[3 * n + 2])} for n, topic in enumerate(topics)}


def says_the_same(case, decision):
    """True, False, or None where the engine leaves the case to somebody else."""
    if not case.expected.get("envoy") or "envoy" in case.expected.get("unstable", []):
        return None
    if decision["kind"] in ("handed_up", "refused") or (decision["kind"] == "bad" and policy.is_repaired(case.sent())):
        return None
    envoy = case.expected["envoy"][0]
    if envoy.get("details") == "upgrade_failed":
        return None  # refused before or after a route was looked up: the proxy's
    route, cluster = envoy.get("route"), envoy.get("cluster")
    if decision["kind"] == "cluster":
        return route == decision.get("route") and (decision["cluster"] is None or cluster in (decision["cluster"], None))
    if decision["kind"] in ("direct", "redirect"):
        return route == decision.get("route") and cluster is None
    if decision["kind"] == "not_found":
        return route is None and (envoy.get("code") == 404 or envoy.get("details") == "route_not_found")  # 200 for gRPC
    return route is None  # the parser refuses: Envoy got no further either


def is_askable(decision):
    """A well-formed request of known length whose target stays as it is: what the kernel is there for."""
    return decision["host"]["kind"] not in ("bad", "too_large", "version", "not_http", "coding", "preface") and \
        decision["bpf"].get("reason") not in ("chunked_request", "normalizes")


def judge_engine(topic, row, decisions):
    if "failure" in decisions:
        row.notes.append(f"{topic.name}: engine: {decisions['failure']['failure']}")
        return
    row.host, row.kernel = [0, 0], [0, 0]
    for case in topic.cases:
        row.askable += is_askable(decisions[case.id])
        for name, pair in (("host", row.host), ("bpf", row.kernel)):
            decision = decisions[case.id][name]
            same = says_the_same(case, decision)
            if same is None:
                continue
            pair[0] += same
            pair[1] += 1
            if not same:
                row.notes.append(f"{topic.name}/{case.id}: engine ({name}) {json.dumps(decision)}, Envoy {json.dumps(case.expected['envoy'][0])}")


# ---- configurations --------------------------------------------------------------------------------------------------------------------


def accepts(options, topic, row, folder):
    """`rejects`: is what Envoy takes taken, and what it refuses refused?"""
    paths = []
    for identity, config, _, _ in topic.configurations:
        path = folder / f"{identity}.json"
        path.write_text(json.dumps({"pods": [], "resources": vectors.resources(config, {})}, ensure_ascii=False), encoding="utf-8")
        paths.append(str(path))
    done = subprocess.run([str(pathlib.Path(options.build) / "tests/conformance/engine"), "--accept", *paths],
                          capture_output=True, text=True, timeout=120, check=False)
    said = done.stdout.split()
    row.matched = 0
    for (identity, config, accepted, message), word in zip(topic.configurations, said + ["nothing"] * len(paths)):
        if word == ("accepted" if accepted else "refused"):
            row.matched += 1
        else:
            row.notes.append(f"{topic.name}/{identity}: weft {word}; Envoy {'accepted' if accepted else 'refused: ' + message[-200:]}\n"
                             f"    {json.dumps(config)[:400]}")


# ---- a running weftd -------------------------------------------------------------------------------------------------------------------


def duration(case):
    """About how long a case takes: the long ones begin first, so that lanes end together."""
    waits = sum(step.get("sleep_ms", 0) for step in case.steps) + case.settle_ms + min(case.linger_ms, 120)
    if case.expected.get("connection") in ("closing", "closed"):
        waits += 5
    if case.expected.get("ended") == "no response":
        waits += case.timeout_ms
    return waits


def weftd(options, topics, rows, decisions):
    mesh = Mesh(options.build, options.prefix, options.subnet, options.lanes, ["--decorate", options.decorate, *options.weftd])
    for topic in topics:
        topic.cases.sort(key=duration, reverse=True)
    lanes = Lanes(mesh, topics, options.decorate)
    ended, is_carried, begun = False, False, time.monotonic()
    try:
        mesh.up()
        lanes.start()
        for index, (topic, row) in enumerate(zip(topics, rows)):
            started = time.monotonic()
            lanes.prepare(index)
            try:
                mesh.serve(vectors.mesh_file(topic, mesh.pod_entries()))
            except Refused as why:
                row.matched = 0
                row.notes.append(f"{topic.name}: weftd does not serve it: {why}")
                continue
            for _ in range(options.rounds - 1):
                lanes.run(index)
            results = lanes.run(index)
            again(topic, row, results, decisions[topic.name], lambda wanted: lanes.run(index, wanted))
            judge(topic, row, results, decisions[topic.name], options.verbose)
            row.seconds = time.monotonic() - started
        is_carried = is_kernel_there(options, mesh.status()["requests"])
    finally:
        print(f"{'served all topics':32} {time.monotonic() - begun:>5.1f} s")
        lanes.stop()
        ended = mesh.down()
    if not ended:
        print("weftd did not end by itself with status 0: build/conformance/weft.log")
    return ended and is_carried


def is_kernel_there(options, requests):
    """The proxy alone would match as well: what is compared is to be both."""
    carried = requests["bypass"] + requests["remote"] + requests["local_reply"]
    print(f"of the requests {carried} were the kernel's, {requests['slow']} the proxy's")
    if carried or options.decorate != "none" or options.topics or options.cases or options.weftd:
        return True
    print("the kernel carried none: build/conformance/weft.log says why")
    return False


def is_refused(decisions, case):
    return decisions.get(case.id, {}).get("host", {}).get("kind") == "refused"


def again(topic, row, results, decisions, run):
    """A busy machine brings a request late to its server: a case that differs gets a second try, and the table says how many needed it."""
    wanted = {case.id for case in topic.cases if results[case.id][0] and not is_refused(decisions, case)}
    if not wanted or len(wanted) > AGAIN_MAX:
        return
    for identity, result in run(wanted).items():
        row.again += not result[0]
        results[identity] = result


def read_exceptions():
    """{topic/id: why it does not match, and is known not to}"""
    lines = [line.split(maxsplit=1) for line in (HERE / "exceptions").read_text().splitlines()]
    return {line[0]: line[1] for line in lines if line and line[0] != "#"}


def judge(topic, row, results, decisions, is_verbose):
    exceptions = read_exceptions()
    row.matched = 0
    for case in sorted(topic.cases, key=lambda c: c.id):
        differences, is_stricter, found = results[case.id]
        if not differences:
            row.matched += 1
            row.stricter += is_stricter
            continue
        text = f"{topic.name}/{case.id}: " + "; ".join(differences)
        if f"{topic.name}/{case.id}" in exceptions:
            row.not_yet += 1
            if not is_verbose:
                continue
            text = f"{topic.name}/{case.id}: not yet: {exceptions[f'{topic.name}/{case.id}']}"
        elif is_refused(decisions, case):
            row.not_yet += 1
            if not is_verbose:
                continue
            text = f"{topic.name}/{case.id}: not yet: " + decisions[case.id]["host"].get("why", "")
        if is_verbose:
            text += f"\n    sent     {case.sent()[:600]!r}\n    Envoy    {json.dumps(case.expected)[:1500]}\n    weft     {json.dumps(found)[:1500]}"
        row.notes.append(text)


# ---- the table -------------------------------------------------------------------------------------------------------------------------


def cell(pair):
    return "" if pair is None else f"{pair[0]}/{pair[1]}"


def print_table(rows, decorate):
    print(f"\n{'topic':32} {'cases':>6} {'host engine':>12} {'BPF engine':>12} {'in kernel':>9} {'weftd':>6} {'not yet':>8} {'time':>6}   (decorate {decorate})")
    for row in rows:
        share = f"{100 * row.kernel[1] / row.askable:.0f} %" if row.kernel and row.askable else ""
        matched = "" if row.matched is None else str(row.matched)
        remarks = ", ".join(f"{n} {what}" for n, what in ((row.stricter, "stricter"), (row.again, "at the second try")) if n)
        print(f"{row.topic.name:32} {row.total:>6} {cell(row.host):>12} {cell(row.kernel):>12} {share:>9} {matched:>6} {row.not_yet or '':>8} {row.seconds:>5.1f}s   {remarks}")
    total, matched = sum(r.total for r in rows), sum(r.matched or 0 for r in rows)
    print(f"{'all':32} {total:>6} {'':>12} {'':>12} {'':>9} {matched:>6} {sum(r.not_yet for r in rows):>8}")


def read_minimum(path):
    """{topic: (cases that have to match, decisions of the engine that are known to differ)}"""
    lines = [line.split("#")[0].split() for line in pathlib.Path(path).read_text().splitlines()]
    return {line[0]: (int(line[1]), int(line[2]) if len(line) > 2 else 0) for line in lines if line}


def fallen(rows, minimum):
    """Topics with fewer matches than they are known to have, or with an engine that is wrong where it was not."""
    found = []
    for row in rows:
        wanted, known = minimum.get(row.topic.name, (0, 0))
        if row.matched is not None and row.matched < wanted:
            found.append(f"{row.topic.name}: {row.matched} of {row.total} match, at least {wanted} have to")
        for name, pair in (("host", row.host), ("kernel", row.kernel)):
            if pair and pair[1] - pair[0] > known:
                found.append(f"{row.topic.name}: the engine ({name}) decides {pair[1] - pair[0]} cases otherwise than Envoy")
    return found


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--vectors", default=str(HERE / "vectors"))
    parser.add_argument("--topics", default="")
    parser.add_argument("--cases", default="")
    parser.add_argument("--decorate", choices=("none", "envoy"), default="none")
    parser.add_argument("--only", choices=("engine", "weftd"))
    parser.add_argument("--minimum")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=1)  # the last one is judged
    parser.add_argument("--prefix", default=f"conform-{os.getpid()}")
    parser.add_argument("--subnet", default="10.78.0")
    parser.add_argument("weftd", nargs="*")
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    started = time.monotonic()
    topics = vectors.load(options.vectors, set(options.topics.split()))
    for topic in topics:
        if options.cases:
            topic.cases = [c for c in topic.cases if re.search(options.cases, c.id)]
            topic.configurations = [c for c in topic.configurations if re.search(options.cases, c[0])]
    rows = [Row(topic) for topic in topics]
    served = [(t, r) for t, r in zip(topics, rows) if t.cases and not t.runtime]
    is_fine = True
    with tempfile.TemporaryDirectory() as folder:
        for topic, row in zip(topics, rows):
            if topic.configurations:
                accepts(options, topic, row, pathlib.Path(folder))
            if topic.runtime:
                row.not_yet = row.total
                row.notes.append(f"{topic.name}: not yet: weft imitates Envoy 1.40 without {json.dumps(topic.runtime)}")
        decisions = engine_decisions(options, [t for t, _ in served], pathlib.Path(folder)) if served else {}
    for topic, row in served:
        judge_engine(topic, row, decisions[topic.name])
    if served and options.only != "engine":
        is_fine = weftd(options, [t for t, _ in served], [r for _, r in served], decisions)
    for row in rows:
        for note in row.notes:
            print(note)
    print_table(rows, options.decorate)
    print(f"{time.monotonic() - started:.0f} s")
    minimum = {row.topic.name: (row.total, 0) for row in rows} if options.all else read_minimum(options.minimum) if options.minimum else {}
    for line in fallen(rows, minimum) if minimum else []:
        is_fine = False
        print(f"FAILED: {line}")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
