# SPDX-License-Identifier: Apache-2.0
"""A topology with nothing but clients, and a weftd that serves one topic after the other."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOPOLOGY = str(REPOSITORY / "tests/topology/topology.sh")


class Refused(Exception):
    """weftd does not take the configuration; the text says why."""


class Mesh:
    def __init__(self, build, prefix, subnet, lanes, arguments):
        self.build = pathlib.Path(build)
        self.prefix = prefix
        self.subnet = subnet
        self.pods = [f"cli{n}" for n in range(lanes)]
        self.arguments = arguments
        self.weftd = None

    def topology(self, command, *words):
        done = subprocess.run([TOPOLOGY, command, "--prefix", self.prefix, *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def up(self):
        self.topology("up", "--subnet", self.subnet, "--pods", " ".join(self.pods))
        self.state = pathlib.Path(self.topology("show", "state"))
        self.cgroup = pathlib.Path(self.topology("show", "cgroup", "node")).parent
        self.config = self.state / "conformance.json"
        self.control = self.state / "weft.sock"
        self.log = self.state / "weft.log"

    def pod_ip(self, lane):
        return f"{self.subnet}.{lane + 2}"

    def pod_netns(self, lane):
        return f"/run/netns/{self.prefix}-{self.pods[lane]}"

    def pod_cgroup(self, lane):
        return self.cgroup / self.pods[lane]

    def pod_entries(self):
        return [{"name": pod, "namespace": "default", "ip": self.pod_ip(n), "network_namespace": self.pod_netns(n), "cgroup": str(self.pod_cgroup(n)),
                 "labels": {"app": "cli"}} for n, pod in enumerate(self.pods)]

    def status(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.control))
            client.sendall(b'{"command": "status"}\n')
            return json.loads(b"".join(iter(lambda: client.recv(65536), b"")))

    def write(self, text):
        part = self.config.with_suffix(".part")
        part.write_text(text, encoding="utf-8")
        part.rename(self.config)

    def serve(self, text):
        """Has weftd serve this configuration, all pods enrolled. Raises Refused."""
        if self.weftd is None:
            self.write(text)
            self.start()
            return
        before = self.status()
        logged = self.log.stat().st_size
        self.write(text)
        self.weftd.send_signal(signal.SIGHUP)
        if not self.wait(lambda s: s["generation"] > before["generation"] or s["config"]["refusals"] > before["config"]["refusals"]):
            raise Refused("weftd takes no notice of its configuration")
        if self.status()["config"]["refusals"] > before["config"]["refusals"]:
            raise Refused(self.log.read_text(errors="replace")[logged:].strip())

    def start(self):
        command = [TOPOLOGY, "exec", "--prefix", self.prefix, "daemon", "--", str(self.build / "weftd"), "--config", str(self.config), "--control",
                   str(self.control), "--bpffs", str(self.state / "bpffs/weft"), *self.arguments]
        with open(self.log, "a", encoding="utf-8") as log:
            self.weftd = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not self.wait(lambda s: s["generation"] >= 1 and all(p["state"] == "serving" for p in s["pods"])):
            words = self.log.read_text(errors="replace")[-2000:]
            self.stop()
            raise Refused(words)

    def wait(self, holds):
        for _ in range(600):
            if self.weftd.poll() is not None:
                return False
            try:
                if holds(self.status()):
                    return True
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.02)
        return False

    def stop(self):
        """Ends weftd as an administrator would. False: it had to be killed, or did not exit with 0."""
        if self.weftd is None:
            return True
        weftd, self.weftd = self.weftd, None
        weftd.terminate()
        try:
            return weftd.wait(10) == 0
        except subprocess.TimeoutExpired:
            weftd.kill()
            weftd.wait()
            return False

    def down(self):
        ended = self.stop()
        keep = self.build / "conformance"
        keep.mkdir(parents=True, exist_ok=True)
        if getattr(self, "log", None) and self.log.exists():
            (keep / "weft.log").write_bytes(self.log.read_bytes())
        if os.path.exists(f"/run/weft-topology/{self.prefix}"):
            self.topology("down")
        return ended
