# SPDX-License-Identifier: Apache-2.0
"""A node of Kubernetes for tests and measurements: an API server, pods made of network namespaces and cgroups as kubelet makes them, and weftd."""
import calendar
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
ROUTES = {"name": "80", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]}
RESOURCES = json.dumps({"resources": [{
    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "0.0.0.0_80",
    "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
    "filter_chains": [{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": MANAGER, "stat_prefix": "outbound", "route_config": ROUTES, "http_filters": [ROUTER]}}]}]}]})
# what each pod has an entry in, or each connection of one
MAPS = ("pods", "pod_usage", "pool_index", "upstream_sockets", "connections", "connection_ports")


def float_of(match):
    whole, fraction = match.group(1).split(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float("0." + fraction)


def cgroup2():
    return next(line.split()[1] for line in open("/proc/mounts", encoding="ascii") if line.split()[2] == "cgroup2")


class Node:
    def __init__(self, build, kube_server=None):
        self.build, self.kube_server, self.port = pathlib.Path(build), kube_server, 0
        self.state = pathlib.Path(f"/run/weft-node-{os.getpid()}")
        self.state.mkdir()
        self.cgroups = pathlib.Path(cgroup2()) / f"weft-node-{os.getpid()}"
        self.cgroups.mkdir()
        (self.cgroups / "daemon").mkdir()
        self.sandboxes, self.server, self.weftd = {}, None, None

    def start_server(self, *options):
        """The tests' own, or tests/kube/server. At the same address when it is there again."""
        port_file = self.state / "port"
        port_file.unlink(missing_ok=True)
        command = [str(self.kube_server), "--role", str(ROOT / "deploy/weft.yaml")] if self.kube_server else [sys.executable, str(ROOT / "tests/kube/apiserver.py")]
        with open(self.state / "server.log", "a", encoding="utf-8") as log:
            self.server = subprocess.Popen([*command, "--dir", str(self.state / "api"), "--port-file", str(port_file), "--port", str(self.port), *options], stderr=log)
        while not port_file.exists():
            if self.server.poll() is not None:
                raise SystemExit("the API server does not start:\n" + (self.state / "server.log").read_text()[-2000:])
            time.sleep(0.01)
        ports = port_file.read_text().split()
        self.port, self.orders = int(ports[0]), f"http://127.0.0.1:{ports[-1]}/control"
        self.url = f"http{'s' if self.kube_server else ''}://127.0.0.1:{self.port}"

    def start_server_with(self, things):
        """The tests' own has nothing when it begins."""
        file = self.state / "things"
        file.write_text(json.dumps({"put": things}))
        self.start_server("--begin-with", str(file))

    def server_goes(self):
        self.server.kill()
        self.server.wait()

    def order(self, what):
        """What became of it: {"uids": of what was put}."""
        try:
            return json.loads(urllib.request.urlopen(self.orders, json.dumps(what).encode(), timeout=60).read())
        except urllib.error.HTTPError as error:
            raise SystemExit(f"the API server does not obey: {error.read().decode()}") from None

    def told(self):
        return json.loads(urllib.request.urlopen(self.orders, timeout=20).read())

    @staticmethod
    def address_of(number):
        return f"10.{80 + number // 60000}.{number // 250 % 250}.{number % 250 + 1}"

    def sandbox(self, number, uid):
        """A process in a network namespace with the pod's address, in the cgroup that kubelet makes for that uid."""
        folder = self.cgroups / "kubepods" / "burstable" / f"pod{uid}" / "pause"
        folder.mkdir(parents=True)
        command = f"echo $$ >{folder}/cgroup.procs; ip link set lo up; ip addr add {self.address_of(number)}/32 dev lo; echo ready; exec sleep 100000"
        self.sandboxes[number] = (subprocess.Popen(["unshare", "-n", "sh", "-c", command], stdout=subprocess.PIPE), folder)

    def wait_for_sandbox(self, number):
        self.sandboxes[number][0].stdout.readline()

    def end_sandbox(self, number):
        process, folder = self.sandboxes.pop(number)
        process.kill()
        process.wait()
        for each in (folder, folder.parent):
            for _ in range(200):
                try:
                    each.rmdir()
                    break
                except OSError:
                    time.sleep(0.005)

    def start_weftd(self, *options):
        config = self.state / "weft.yaml"
        config.write_text(RESOURCES)
        (self.state / "kubeconfig").write_text(json.dumps({
            "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": self.url, "certificate-authority": str(self.state / "api/ca.crt") if self.kube_server else ""}}],
            "users": [{"name": "a", "user": {"tokenFile": str(self.state / "api/token")}}]}))
        self.log = self.state / "log"
        with open(self.log, "w", encoding="utf-8") as log:
            self.weftd = subprocess.Popen([str(self.build / "weftd"), "--config", str(config), "--control", str(self.state / "sock"), "--bpffs",
                                           str(self.state / "bpffs"), "--cgroup", str(self.cgroups / "daemon" / "weft"), *options], stderr=log)

    def kubernetes(self):
        return ["--kubernetes", "--kubeconfig", str(self.state / "kubeconfig"), "--node-name", "node-a", "--cgroup-root", str(self.cgroups)]

    def ask(self, *words):
        done = subprocess.run([str(self.build / "weftctl"), "--control", str(self.state / "sock"), "-o", "json", *words], capture_output=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def serving(self):
        return [float_of(m) for m in re.finditer(r"^(\S+)Z info worker: pod bench/\S+: serving", self.log.read_text(), re.M)]

    def times(self, what):
        return {m.group(2): float_of(m) for m in re.finditer(rf"^(\S+)Z info worker: pod bench/(\S+): {what}", self.log.read_text(), re.M)}

    def wait(self, holds, seconds=60):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end or self.weftd.poll() is not None:
                raise SystemExit("weftd does not get there:\n" + "\n".join(self.log.read_text().splitlines()[-15:]))
            time.sleep(0.02)

    def worker(self):
        return self.ask("status")["worker"]["pid"]

    def resident_kib(self):
        time.sleep(1)
        text = pathlib.Path(f"/proc/{self.worker()}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def held(self):
        """Descriptors of the worker, links and map entries: what must not grow."""
        links = sum(len(files) for path, _, files in os.walk(self.state / "bpffs") if path.endswith("/links"))
        held = {"descriptors": len(os.listdir(f"/proc/{self.worker()}/fd")), "links": links}
        for name in MAPS:
            pin = next((self.state / "bpffs").glob(f"**/{name}"))
            entries = json.loads(subprocess.run(["bpftool", "-j", "map", "dump", "pinned", str(pin)], capture_output=True, check=True).stdout)
            held[f"entries of the map {name}"] = len(entries)
        return held

    def stop_weftd(self):
        self.weftd.send_signal(signal.SIGTERM)
        self.weftd.wait(20)
        self.weftd = None

    def end(self):
        if self.weftd:
            self.weftd.kill()
            self.weftd.wait()
        for number in list(self.sandboxes):
            self.end_sandbox(number)
        if self.server:
            self.server.kill()
            self.server.wait()
        subprocess.run([str(self.build / "weftctl"), "--control", str(self.state / "sock"), "--bpffs", str(self.state / "bpffs"), "uninstall"], capture_output=True, check=False)
        subprocess.run(["umount", "-l", str(self.state / "bpffs")], capture_output=True, check=False)
        for path, folders, _ in os.walk(self.cgroups, topdown=False):
            for each in folders:
                os.rmdir(os.path.join(path, each))
        self.cgroups.rmdir()
        shutil.rmtree(self.state, ignore_errors=True)
