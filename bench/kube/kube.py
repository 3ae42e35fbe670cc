#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What pods of Kubernetes cost a node: the first list to all enrolled, a label to its pod enrolled, pods that come and go; labels that do; and an API server that is away.

  kube.py --build BUILD --out FILE [--pods 250] [--namespaces 5000] [--churn SECONDS] [--toggle SECONDS] [--outage SECONDS]

Pods are network namespaces with a process in a cgroup as kubelet makes them; the API server is the tests' (tests/kube/apiserver.py). Needs root.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/kube"))
import node as kube  # pylint: disable=wrong-import-position

LABEL = {"istio.io/dataplane-mode": "weft"}
# answers where the mesh would, and counts: for what a pod asks while it is not enrolled
SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, count, disable_nagle_algorithm = "HTTP/1.1", 0, True
    def log_message(self, *arguments):
        pass
    def do_GET(self):
        Handler.count += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
class Server(http.server.ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128
server = Server(("10.96.0.1", 80), Handler)
import threading
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
print(Handler.count, flush=True)
"""


class Node(kube.Node):
    def pod(self, number):
        uid = f"bench-{number}"
        self.sandbox(number, uid)
        return {"kind": "Pod", "metadata": {"name": f"pod-{number}", "namespace": "bench", "uid": uid, "labels": {"app": "bench"}},
                "spec": {"nodeName": "node-a", "containers": [{"name": "main"}]},
                "status": {"phase": "Running", "podIPs": [{"ip": self.address_of(number)}]}}

    def load(self, number, seconds, *options):
        process, folder = self.sandboxes[number]
        script = self.state / "load.lua"
        # failures are looked for, not what the machine can do
        script.write_text((ROOT / "tests/topology/report.lua").read_text() + "\nfunction delay() return 2 end\n")
        command = f"echo $$ >{folder}/cgroup.procs; exec nsenter --net=/proc/{process.pid}/ns/net \"$@\""
        return subprocess.Popen(["sh", "-c", command, "sh", "wrk", "-t1", "-c4", f"-d{seconds}", *options, "-s", str(script),
                                 "http://10.96.0.1/"], stdout=subprocess.PIPE, text=True)

    def serve(self, number):
        """Has the address that the mesh takes, in the pod's network and not in its cgroup."""
        inside = ["nsenter", f"--net=/proc/{self.sandboxes[number][0].pid}/ns/net"]
        subprocess.run([*inside, "ip", "addr", "add", "10.96.0.1/32", "dev", "lo"], check=True)
        server = subprocess.Popen([*inside, sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        server.stdout.readline()
        return server


def failures_of(clients):
    """(errors, requests)"""
    errors = count = 0
    for client in clients:
        report = json.loads(next(line[5:] for line in client.communicate()[0].splitlines() if line.startswith("JSON ")))
        errors += sum(report["errors"].values())
        count += report["requests"]
    return errors, count


def toggle(node, seconds, row):
    """The namespace's label goes and comes every two seconds, with it all pods; two of them ask meanwhile."""
    servers = [node.serve(2), node.serve(3)]
    clients = [node.load(2, seconds + 2), node.load(3, seconds + 2, "-H", "connection: close")]
    end, toggles = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        at = time.monotonic()
        toggles += 1
        node.order({"put": {"kind": "Namespace", "metadata": {"name": "bench", "labels": LABEL if toggles % 2 == 0 else {}}}})
        time.sleep(max(0, 2 - (time.monotonic() - at)))
    node.order({"put": {"kind": "Namespace", "metadata": {"name": "bench", "labels": LABEL}}})
    errors, count = failures_of(clients)
    unmeshed = sum(int(server.communicate("\n")[0].split()[-1]) for server in servers)
    row(f"failed of {count:,} requests, label on or off every 2 s for {seconds} s", errors, "", 0)
    row("of them answered without the mesh", unmeshed, "requests")
    if not 0 < unmeshed < count:
        raise SystemExit("bench-kube: all requests went one way")


def namespaces(count):
    names = [{"kind": "Namespace", "metadata": {"name": f"team-{n}", "labels": {"kubernetes.io/metadata.name": f"team-{n}", "team": str(n)}}} for n in range(count - 1)]
    return names + [{"kind": "Namespace", "metadata": {"name": "bench", "labels": LABEL}}]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--out", required=True)
    parser.add_argument("--pods", type=int, default=250)
    parser.add_argument("--namespaces", type=int, default=5000)
    parser.add_argument("--churn", type=int, default=60)
    parser.add_argument("--toggle", type=int, default=120, metavar="SECONDS")
    parser.add_argument("--outage", type=int, default=120, metavar="SECONDS")
    parser.add_argument("--labels", type=int, default=41)
    arguments = parser.parse_args()
    rows = []

    def row(case, value, unit, bar=None):
        rows.append({"case": case, "value": value, "unit": unit, "bar": bar})
        print(f"{case:70} {value:10} {unit}" + (f"   (at most {bar})" if bar is not None else ""), flush=True)

    node = Node(arguments.build)
    try:
        node.start_server()
        node.order({"put": namespaces(arguments.namespaces)})
        pods = [node.pod(n) for n in range(arguments.pods)]
        for n in range(arguments.pods):
            node.wait_for_sandbox(n)
        node.order({"put": pods})

        node.start_weftd()
        node.wait(lambda: node.ask("status"))
        plain = node.resident_kib()
        node.stop_weftd()

        node.start_weftd(*node.kubernetes())
        node.wait(lambda: len(node.serving()) >= arguments.pods)
        first = kube.float_of(re.search(r"^(\S+)Z info worker: pods of node", node.log.read_text(), re.M))
        row(f"{arguments.pods} pods, {arguments.namespaces} namespaces: first request to all enrolled", round((max(node.serving()) - first) * 1000), "ms", 2000)
        row("memory beyond a weftd without pods", round((node.resident_kib() - plain) / 1024, 1), "MiB", 10)

        # without their label and drained; then one by one
        chosen = pods[:arguments.labels]
        for pod in chosen:
            pod["metadata"]["labels"] = {"istio.io/dataplane-mode": "none"}
        node.order({"put": chosen})
        node.wait(lambda: len(node.ask("status")["pods"]) == arguments.pods - len(chosen))
        delays = []
        for pod in chosen:
            name, at = pod["metadata"]["name"], time.time()
            pod["metadata"]["labels"] = {"app": "again"}
            node.order({"put": pod})
            node.wait(lambda: node.times("serving").get(name, 0) >= at - 0.001)
            delays.append(max(node.times("serving")[name] - at, 0) * 1000)
        row("label to enrolled, half of them within", round(statistics.median(delays)), "ms", 50)
        row("label to enrolled, all of them within", round(max(delays)), "ms")

        before, number, made = node.held(), arguments.pods, {}
        end, alive = time.monotonic() + arguments.churn, []
        while time.monotonic() < end:
            begin = time.monotonic()
            pod = node.pod(number)
            node.wait_for_sandbox(number)
            made[f"pod-{number}"] = time.time()
            node.order({"put": pod})
            alive.append(number)
            number += 1
            if len(alive) > 20:
                gone = alive.pop(0)
                node.end_sandbox(gone)
                node.order({"delete": f"bench/pod-{gone}"})
            time.sleep(max(0, 0.05 - (time.monotonic() - begin)))
        for gone in alive:
            node.wait(lambda: f"pod-{gone}" in node.times("serving"), 5)
            node.end_sandbox(gone)
            node.order({"delete": f"bench/pod-{gone}"})
        row(f"pods that came and went in {arguments.churn} s", number - arguments.pods, "pods")
        served = node.times("serving")
        row("of them missed", sum(name not in served for name in made), "pods", 0)
        row("of them enrolled at the latest after", round(max(served[name] - at for name, at in made.items() if name in served) * 1000), "ms")
        node.wait(lambda: len(node.ask("status")["pods"]) == arguments.pods, 20)
        time.sleep(3)
        after = node.held()
        for what in before:
            row(f"{what} more than before", after[what] - before[what], "", 0)

        toggle(node, arguments.toggle, row)
        node.wait(lambda: len([pod for pod in node.ask("status")["pods"] if pod["state"] == "serving"]) == arguments.pods)

        clients = [node.load(0, arguments.outage + 6), node.load(1, arguments.outage + 6, "-H", "connection: close")]
        time.sleep(2)
        node.server_goes()
        time.sleep(arguments.outage)
        failures = node.ask("status")["kubernetes"]["pods"]["failures"]
        node.start_server_with(namespaces(arguments.namespaces) + pods)
        errors, count = failures_of(clients)
        node.wait(lambda: node.ask("status")["kubernetes"]["pods"]["is_watching"], 60)
        row(f"failed of {count:,} requests, API server away for {arguments.outage} s and back", errors, "", 0)
        row("attempts to reach it meanwhile", failures, "")
        row("pods that are enrolled no more afterwards", arguments.pods - len([pod for pod in node.ask("status")["pods"] if pod["state"] == "serving"]), "pods", 0)
        node.stop_weftd()
    finally:
        if os.environ.get("KEEP_LOG"):
            shutil.copy(node.log, os.environ["KEEP_LOG"])
        node.end()
    pathlib.Path(arguments.out).write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
