#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a pod that means harm costs another one: the p50 of a client whose neighbour has its quota of connections open, against the same client's just before.

  hostile_pod.py --build BUILD --out FILE [--rounds 5] [--seconds 3]

The neighbour (tests/e2e/hostile.py) says nothing on its connections, or reads no answer, or no stream. Median over rounds of the ratio within a round; ends with 1 when a bar is missed. Needs root.
"""
import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
import time

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))
from systems import SERVICE, Stage, Weft  # noqa: E402

HOSTILE = REPOSITORY / "tests" / "e2e" / "hostile.py"
REPORT = REPOSITORY / "tests" / "topology" / "report.lua"
SINK_PORT = 8000
CONNECTIONS = 16
STREAMS = 500
PATIENCE_S = 120


class Neighbours(Stage):
    """The demo's pods, and a second client that is enrolled like the first."""

    def up(self):
        self.call("up", "--pods", "cli cli2 v1 v2 v3 ratings")
        self.state = pathlib.Path(self.show("state"))
        self.cgroup = pathlib.Path(self.show("cgroup", "cli")).parent
        self.config = self.state / "weft.yaml"
        with open(self.config, "w", encoding="utf-8") as out:
            self.call("render", str(REPOSITORY / "demo" / "weft.yaml.in"), stdout=out)
        config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        config["pods"].append(dict(config["pods"][0], name="cli2", ip=self.show("ip", "cli2"),
                                   network_namespace=self.show("netns", "cli2"), cgroup=self.show("cgroup", "cli2")))
        self.config.write_text(json.dumps(config), encoding="utf-8")

    @contextlib.contextmanager
    def hostile(self, *words):
        """Holds what the words say. Its line begins with how many are open; what it counts after that went wrong."""
        with subprocess.Popen([self.script, "exec", "--prefix", self.prefix, "cli2", "--", str(HOSTILE), *map(str, words)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            said = process.stdout.readline().strip()
            counts = said.split()[1::2]
            if not counts or any(int(count) for count in counts[1:]):
                raise RuntimeError(f"hostile.py {words[0]}: {said or 'nothing'}")
            yield
            process.stdin.close()


def load(stage, seconds):
    said = stage.run("cli", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", "-s", REPORT, "-H", "Host: reviews", f"http://{SERVICE}/stable/100B")
    return next(json.loads(line[5:]) for line in said.splitlines() if line.startswith("JSON "))


def kinds(stage, quota):
    return {
        f"{quota:,} connections that say nothing": ("hold", quota, stage.show("ip", "ratings"), SINK_PORT),
        f"{quota // 2:,} answers of 1 MB that nobody reads": ("stall", quota // 2, *SERVICE.split(":"), "reviews", "/canary/1MB"),
        f"{STREAMS} streams of 64 MB that nobody reads": ("stall", STREAMS, *SERVICE.split(":"), "reviews", "/canary/64MB"),
    }


def wait_until_alone(weft):
    end = time.monotonic() + PATIENCE_S
    while next(pod["connections"] for pod in weft.control()["pods"] if pod["name"] == "cli2"):
        if time.monotonic() > end:
            raise RuntimeError("the neighbour's connections are not gone")
        time.sleep(0.1)


def measure(stage, rounds, seconds):
    """{kind: [(before, beside)]}"""
    weft = Weft(stage, "weft", "on")
    found = {}
    weft.start()
    try:
        sink = stage.start("ratings", "sink", HOSTILE, "sink", SINK_PORT)
        quota = weft.control()["limits"]["pod_connections"]["value"]
        load(stage, 1)  # warms pools, caches and branch predictors
        for number in range(rounds):
            for kind, words in kinds(stage, quota).items():
                before = load(stage, seconds)
                with stage.hostile(*words):
                    beside = load(stage, seconds)
                wait_until_alone(weft)
                found.setdefault(kind, []).append((before, beside))
                print(f"  round {number + 1}  {kind:42} p50 {before['p50_us']:6.0f} us, beside {beside['p50_us']:6.0f} us", flush=True)
        sink.kill()
    finally:
        weft.stop()
    return found


def main():
    parser = argparse.ArgumentParser(description="What a pod that means harm costs another one.")
    parser.add_argument("--build", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    arguments = parser.parse_args()
    stage = Neighbours("weft-hostile", pathlib.Path(arguments.build).resolve())
    rows = []

    def row(case, value, unit, bar):
        rows.append({"case": case, "value": value, "unit": unit, "bar": bar})
        print(f"{'met   ' if value <= bar else 'MISSED'} {case:78} {value:6} {unit} (at most {bar})", flush=True)

    stage.up()
    try:
        found = measure(stage, arguments.rounds, arguments.seconds)
    finally:
        stage.down()
    for kind, pairs in found.items():
        row(f"p50 of another pod beside {kind}", round(statistics.median(beside["p50_us"] / before["p50_us"] for before, beside in pairs), 2), "of before", 1.2)
        row(f"errors of another pod in {sum(beside['requests'] for _, beside in pairs):,} requests", sum(sum(beside["errors"].values()) for _, beside in pairs), "errors", 0)
    pathlib.Path(arguments.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return any(row["value"] > row["bar"] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
