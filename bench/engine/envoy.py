#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a route costs Envoy, beside the engine's own figures: one virtual host, the routes of cases.c, one connection.

  envoy.py --build DIR --json FILE [--rounds N]

Envoy answers each request itself (direct_response), so that what differs between 10 and 10,000 routes is its look-up. Appends rows to FILE, as bench.c
writes them. Where no Envoy is installed it says so, and FILE stays as it is.
"""
import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "topology"))
import envoy as sidecars  # noqa: E402

TABLES = (10, 10000)
BATCH = 200
REQUEST = (b"GET /api/v1/service-00000/item/1 HTTP/1.1\r\nHost: reviews0.default.svc.cluster.local:9080\r\nUser-Agent: Go-http-client/1.1\r\n"
           b"Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Padding: ")
REQUEST += b"x" * (512 - len(REQUEST) - 4) + b"\r\n\r\n"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for each in sockets:
        each.close()
    return ports


def listener(port, routes):
    host = "reviews0.default"
    virtual_host = {
        "name": f"{host}.svc.cluster.local:9080", "domains": [f"{host}.svc.cluster.local", host, f"{host}.svc", "10.96.0.0"],
        "routes": [{"match": {"prefix": f"/api/v1/service-{routes - 1 - i:05}/"}, "direct_response": {"status": 200}} for i in range(routes)],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench", "normalize_path": True, "generate_request_id": False,
        "route_config": {"name": "bench", "ignore_port_in_host_matching": True, "virtual_hosts": [virtual_host]},
        "http_filters": [{"name": "envoy.filters.http.router",
                          "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    return {"name": f"routes-{routes}", "address": sidecars.socket_address("127.0.0.1", port),
            "filter_chains": [{"filters": [{"name": sidecars.HTTP_MANAGER, "typed_config": manager}]}]}


def connect(port, process):
    for _ in range(200):
        if process.poll() is not None:
            raise SystemExit(f"bench: envoy ended with {process.returncode}")
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError:
            time.sleep(0.05)
    raise SystemExit("bench: envoy does not listen")


def batch(connection):
    """Nanoseconds of each of some requests."""
    times = []
    for _ in range(BATCH):
        begun = time.perf_counter_ns()
        connection.sendall(REQUEST)
        answer = connection.recv(4096)
        times.append(time.perf_counter_ns() - begun)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: envoy answers {answer[:60]!r}")
    return times


def measure(program, rounds):
    """{routes: nanoseconds}: medians of batches in turn, of which the best counts, as in bench.c."""
    ports = free_ports(len(TABLES))
    bootstrap = {"static_resources": {"listeners": [listener(p, n) for p, n in zip(ports, TABLES)]}}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(bootstrap, config)
        config.flush()
        process = subprocess.Popen([program, "-c", config.name, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            connections = [connect(port, process) for port in ports]
            best = dict.fromkeys(TABLES, float("inf"))
            for _ in range(rounds):
                for routes, connection in zip(TABLES, connections):
                    best[routes] = min(best[routes], statistics.median(batch(connection)))
        finally:
            process.kill()
            process.wait()
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--json", required=True)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    program = sidecars.find(options.build)
    if not program:
        print(f"no Envoy to compare with (tests/topology/envoy.py find --install --build {options.build})")
        return
    few, many = measure(program, options.rounds).values()
    rows = json.loads(pathlib.Path(options.json).read_text(encoding="utf-8"))
    for name, value in ((f"Envoy, {TABLES[0]} routes: a request that it answers itself, c=1", few),
                        ("Envoy, 10,000 prefix routes, the last one: what it takes more", many - few)):
        print(f"{name:<58} {value:>8.2f} ns")
        rows.append({"case": name, "value": value, "unit": "ns", "bar": None})
    pathlib.Path(options.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
