# SPDX-License-Identifier: Apache-2.0
"""The recorded cases, and the configuration of weftd that corresponds to a topic's own.

A folder of vectors holds one folder a topic: config.yaml (a RouteConfiguration in Envoy's form and the clusters), endpoints.json, requests.yaml,
expected.jsonl; `rejects` has configurations in place of requests. tests/conformance/README.md says what each field means.
"""
import copy
import dataclasses
import json
import pathlib

import yaml

TYPE = "type.googleapis.com/"
PORT = 18080  # of the listener in the recordings: header values show it
SERVICE = "10.96.77.1"  # where clients connect to: nobody's address, only the mesh answers
RECORDED_SERVICE, RECORDED_CLIENT = "127.77.0.1", "127.0.0.1"
DEFAULT_TIMEOUT_MS = 3000


@dataclasses.dataclass
class Case:
    topic: str
    id: str
    steps: list  # of dicts: data (bytes), more, pipelined, tunnel, sleep_ms
    expected: dict
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    linger_ms: int = 0
    settle_ms: int = 0
    half_close: bool = False

    def sent(self):
        return b"".join(step["data"] for step in self.steps)


@dataclasses.dataclass
class Topic:
    name: str
    config: dict
    endpoints: dict
    cases: list
    configurations: list  # of (id, config, accepted): `rejects`
    runtime: dict


def latin1(parts):
    """Bytes of a string, or of a list of strings and {repeat: [string, n]}: one character is one byte."""
    if isinstance(parts, str):
        return parts.encode("latin-1")
    return b"".join(latin1(p) if isinstance(p, str) else latin1(p["repeat"][0]) * p["repeat"][1] for p in parts)


def step_of(step):
    one = {key: step[key] for key in ("more", "pipelined", "tunnel", "sleep_ms") if step.get(key)}
    one["data"] = latin1(step.get("raw", step.get("parts", "")))
    return one


def case_of(topic, line, request):
    steps = [step_of(step) for step in line["send"]]
    case = Case(topic, line["id"], steps, line)
    case.timeout_ms = request.get("timeout_ms", DEFAULT_TIMEOUT_MS)
    case.linger_ms = request.get("linger_ms", 300 if "connection" in line else 0)
    case.settle_ms = request.get("settle_ms", 0)
    case.half_close = bool(request.get("half_close"))
    return case


def read_yaml(path):
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader=yaml.CSafeLoader)


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def load_topic(folder):
    folder = pathlib.Path(folder)
    lines = read_lines(folder / "expected.jsonl")
    requests = {r["id"]: r for r in read_yaml(folder / "requests.yaml") or []} if (folder / "requests.yaml").exists() else {}
    if not (folder / "config.yaml").exists():
        accepted = {line["id"]: line for line in lines}
        configurations = [(i, r["config"], accepted[i]["accepted"], accepted[i].get("message", "")) for i, r in requests.items() if i in accepted]
        return Topic(folder.name, {}, {}, [], configurations, {})
    config = read_yaml(folder / "config.yaml")
    endpoints = json.loads((folder / "endpoints.json").read_text()) if (folder / "endpoints.json").exists() else {}
    cases = [case_of(folder.name, line, requests.get(line["id"], {})) for line in lines]
    return Topic(folder.name, config, endpoints, cases, [], config.get("runtime", {}))


def load(folder, wanted=None):
    """The topics below `folder`, by name; `wanted` selects."""
    names = sorted(p.name for p in pathlib.Path(folder).iterdir() if (p / "expected.jsonl").exists())
    unknown = set(wanted or ()) - set(names)
    if unknown:
        raise SystemExit(f"conformance: no topic {', '.join(sorted(unknown))} in {folder}; there are: {' '.join(names)}")
    return [load_topic(pathlib.Path(folder) / name) for name in names if not wanted or name in wanted]


# ---- configuration -------------------------------------------------------------------------------------------------------------------


def socket_address(address, port):
    return {"socket_address": {"address": address, "port_value": int(port)}}


def listener(overrides, route_config_name):
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "conformance",
        "rds": {"config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}, "route_config_name": route_config_name},
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"}},
            {"name": "envoy.filters.http.cors", "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.cors.v3.Cors"}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}],
        "use_remote_address": False,
        "normalize_path": True,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "proxy_100_continue": True,
        "stream_idle_timeout": "0s",
    }
    manager.update(overrides)
    return {
        "@type": TYPE + "envoy.config.listener.v3.Listener", "name": f"0.0.0.0_{PORT}", "address": socket_address("0.0.0.0", PORT),
        "traffic_direction": "OUTBOUND", "bind_to_port": False,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}


def named_routes(route_config):
    """As istiod sends it: ports of hosts ignored. Routes get the names under which the recordings know them: VHOST#INDEX."""
    config = copy.deepcopy(route_config)
    config.setdefault("ignore_port_in_host_matching", True)
    for host in config.get("virtual_hosts", []):
        for index, route in enumerate(host.get("routes", [])):
            route.setdefault("name", f"{host.get('name', '')}#{index}")
    return config


def cluster_names(value, found):
    """Every cluster that a route configuration names, in order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "cluster" and isinstance(inner, str) and inner:
                found.setdefault(inner)
            elif key == "clusters" and isinstance(inner, list):
                for item in inner:
                    if isinstance(item, dict) and item.get("name"):
                        found.setdefault(item["name"])
                        cluster_names(item, found)
            else:
                cluster_names(inner, found)
    elif isinstance(value, list):
        for inner in value:
            cluster_names(inner, found)
    return found


def cluster(name, addresses, extra):
    endpoints = [{"endpoint": {"address": socket_address(*address.rsplit(":", 1))}} for address in addresses]
    made = {
        "@type": TYPE + "envoy.config.cluster.v3.Cluster", "name": name, "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []}}
    made.update(extra)
    return made


def resources(config, endpoints):
    """The Envoy resources of a topic's config.yaml, or of a configuration of `rejects`."""
    route_config = named_routes(config["route_config"])
    described = {c["name"]: c for c in config.get("clusters", [])}
    names = cluster_names(config["route_config"], {name: None for name in described})
    for name in endpoints:
        names.setdefault(name)
    for name in config.get("absent_clusters", []):
        names.pop(name, None)
    made = [listener(config.get("hcm", {}), route_config.get("name", "80"))]
    made.append({"@type": TYPE + "envoy.config.route.v3.RouteConfiguration", **route_config})
    for name in names:
        made.append(cluster(name, endpoints.get(name, []), described.get(name, {}).get("envoy", {})))
    return made


def mesh_file(topic, pods):
    """weftd's configuration file as text. JSON is YAML, and quicker to read and write."""
    return json.dumps({"pods": pods, "resources": resources(topic.config, topic.endpoints)}, ensure_ascii=False)
