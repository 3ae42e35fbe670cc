#!/usr/bin/env python3
"""sudo make bench: weft against no mesh, HAProxy, nginx and an Envoy sidecar pair, on the demo's topology.

`bare` is the kernel's redirection between sockets with programs that do nothing else: what weft's two paths could cost at least on this machine.

Every round starts each system in turn, in another order each time, and runs every case with one wrk thread; a measurement during which
others used the machine (more than 10 % of its CPU, or 15 % stolen by the host) is left out and tried again. Figures are medians over
rounds, ratios are medians of ratios within a round. Prints a Markdown table; writes BUILD/bench.json.

Where processors sleep deeply, or a host must wake them, two wake-ups are most of an exchange of one connection, with and without a mesh:
AWAKE=1 has idle processors wait awake (/dev/cpu_dma_latency), so that what is left is the way of the bytes. How much waking takes, in the same
rounds, stands below the table.

Environment: BUILD (build), QUICK=1 (under a minute: one round of one second, four cases, no `bare`), ROUNDS (5), DURATION (2, seconds a
measurement), SYSTEMS and CASES (comma-separated names), AWAKE=1, PREFIX (weft-bench).
"""
import json
import os
import pathlib
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time

import report
from machine import Watch, idle_trip_us
from systems import REPOSITORY, Stage, all_systems

# name: (connections, path, body bytes, extra options of wrk)
CASES = {
    "c1-100B": (1, "100B", 100, []),
    "c64-100B": (64, "100B", 100, []),
    "c16-10KB": (16, "10KB", 10_240, []),
    "c8-1MB": (8, "1MB", 1_048_576, []),
    "c8-64MB": (8, "64MB", 67_108_864, []),
    "close-c16": (16, "100B", 100, ["-H", "Connection: close"]),
}
QUICK_CASES = ("c1-100B", "c64-100B", "c8-1MB", "close-c16")
REPEATS = 2


def setting(name, default):
    return os.environ.get(name) or default


def wrk(stage, system, case, seconds):
    connections, path, _, options = CASES[case]
    # eight connections need a while for answers of 64 MB
    seconds *= 2 if path == "64MB" else 1
    said = stage.run("cli", "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "--timeout", "30", "--latency", "-s", REPOSITORY / "tests" / "topology" / "report.lua",
                     "-H", "Host: reviews", *options, f"http://{system.target()}/stable/{path}")
    for line in said.splitlines():
        if line.startswith("JSON "):
            return json.loads(line[5:])
    raise RuntimeError(f"wrk said nothing of use for {system.name}, {case}:\n{said}")


def measure(stage, system, case, seconds, number):
    before = system.paths()
    with Watch(stage.cgroup) as watch:
        said = wrk(stage, system, case, seconds)
    after = system.paths()
    size = CASES[case][2]
    # few large answers end within the time, so their rate is taken from the bytes that came
    requests = said["requests"] if size < 1_000_000 else said["bytes"] / size
    elapsed = said["duration_us"] / 1_000_000
    return {
        "round": number, "system": system.name, "case": case,
        "p50_us": said["p50_us"], "p99_us": said["p99_us"], "rps": requests / elapsed, "mb_per_s": said["bytes"] / elapsed / 1_000_000,
        "cpu_us_per_request": watch.cgroup_us / max(requests, 1), "machine_cpu_us_per_request": watch.busy_us / max(requests, 1),
        "errors": sum(said["errors"].values()), "paths": {p: after[p] - before.get(p, 0) for p in after},
        "foreign_share": round(watch.foreign_share, 3), "steal_share": round(watch.steal_share, 3), "is_clean": watch.is_clean(),
    }


def one_round(stage, systems, cases, seconds, number, repeats, samples):
    order = systems[number % len(systems):] + systems[:number % len(systems)]
    for system in order:
        system.start()
        try:
            # warms pools, caches and branch predictors; nothing is measured
            wrk(stage, system, "c64-100B", 1)
            for case in [c for c in cases if not system.cases or c in system.cases]:
                for attempt in range(repeats + 1):
                    sample = measure(stage, system, case, seconds, number)
                    if sample["is_clean"] or attempt == repeats:
                        break
                    samples.append(sample | {"round": f"{number} left out {attempt}"})
                samples.append(sample)
                progress(number, sample)
        finally:
            system.stop()


def progress(number, sample):
    note = "" if sample["is_clean"] else f"   left out: others used {100 * sample['foreign_share']:.0f} %, host {100 * sample['steal_share']:.0f} %"
    print(f"  round {number + 1}  {sample['system']:12s} {sample['case']:10s} p50 {report.microseconds(sample['p50_us']):>9s}  {sample['rps']:>10,.1f}/s{note}",
          file=sys.stderr, flush=True)


def prepare():
    if os.geteuid() != 0:
        raise SystemExit("bench: network namespaces, cgroups and BPF need root: sudo make bench")
    for program in ("wrk", "nginx", "ip", "nsenter"):
        if not shutil.which(program):
            raise SystemExit(f"bench: {program} is not installed: sudo make deps")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))


def names(variable, default, known):
    """What a comma-separated setting names; only what there is."""
    named = [name.strip() for name in setting(variable, default).split(",") if name.strip()]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise SystemExit(f"bench: {variable}: no {', '.join(unknown)}; there is {', '.join(known)}")
    return named


def keep_awake():
    """A file that keeps all idle processors from sleeping as long as it is open (Linux: admin-guide/pm/cpuidle)."""
    try:
        held = open("/dev/cpu_dma_latency", "wb", buffering=0)
        held.write(struct.pack("=i", 0))
    except OSError as error:
        raise SystemExit(f"bench: AWAKE: {error}") from None
    return held


def main():
    prepare()
    quick = setting("QUICK", "") not in ("", "0")
    build = pathlib.Path(setting("BUILD", str(REPOSITORY / "build")))
    rounds, seconds = int(setting("ROUNDS", "1" if quick else "5")), int(setting("DURATION", "1" if quick else "2"))
    cases = names("CASES", ",".join(QUICK_CASES if quick else CASES), list(CASES))
    stage = Stage(setting("PREFIX", "weft-bench"), build)
    wanted = names("SYSTEMS", "", [s.name for s in all_systems(stage, install=False)])
    awake = keep_awake() if setting("AWAKE", "") not in ("", "0") else None
    samples, trips, start = [], [], time.monotonic()
    systems = [s for s in all_systems(stage, install=not quick) if (s.name in wanted if wanted else not (quick and s.is_extra))]
    try:
        stage.up()
        for system in [s for s in systems if s.why_not()]:
            print(f"bench: without {system.name}: {system.why_not()}", file=sys.stderr)
            systems.remove(system)
        for number in range(rounds):
            trips.append(idle_trip_us())
            one_round(stage, systems, cases, seconds, number, 0 if quick else REPEATS, samples)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    finally:
        stage.down()
    result = report.rows(samples, [s.name for s in all_systems(stage, install=False)], cases)
    build.mkdir(parents=True, exist_ok=True)
    (build / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    left_out = sum(not s["is_clean"] for s in samples)
    print(report.table(result))
    print(f"\n{rounds} rounds of {seconds} s, {os.cpu_count()} CPUs{', awake when idle' if awake else ''}, Linux {os.uname().release}, {time.monotonic() - start:.0f} s; "
          f"{left_out} of {len(samples)} measurements left out for others' use of the machine (rows marked ~ have no other).")
    if trips[0] is not None:
        print(f"Two idle processors woken, by a byte there and back between two processes: {report.microseconds(statistics.median(trips))}; "
              "every exchange of one connection waits for as much, with a mesh and without.")
    said = report.bars(samples)
    if said:
        print(f"\nBars:\n{said}")


if __name__ == "__main__":
    main()
