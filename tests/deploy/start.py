#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long weftd takes to be ready: in the image's root, with an enrolled pod, from what istiod has sent last time and with no istiod.

  start.py --root ROOT [--starts N] [--bar MS]      as root, with the Python that tests/xds/venv.sh made; ROOT has the node's /proc and /sys

The cache is that of a start with the recording of 1,000 services (tests/data/recordings/scale). Ready is what /healthz/ready says; it is asked each millisecond.
"""
import argparse
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / folder) for folder in ("bench/xds", "tests/xds")]
import live  # noqa: E402  pylint: disable=wrong-import-position


class Start:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.state = pathlib.Path(f"/run/weft-start-{os.getpid()}")
        self.state.mkdir()
        (self.root / self.state.relative_to("/")).mkdir(parents=True)
        subprocess.run(["mount", "--bind", self.state, self.root / self.state.relative_to("/")], check=True)
        cgroup2 = next(line.split()[1] for line in open("/proc/mounts", encoding="ascii") if line.split()[2] == "cgroup2")
        self.cgroup = pathlib.Path(cgroup2) / f"weft-start-{os.getpid()}"
        (self.cgroup / "pod").mkdir(parents=True)
        self.pod = subprocess.Popen(["unshare", "-n", "sh", "-c", f"echo $$ >{self.cgroup}/pod/cgroup.procs; ip link set lo up; ip addr add 10.9.0.2/32 dev lo; echo; exec sleep 1000"],
                                    stdout=subprocess.PIPE)
        self.pod.stdout.readline()
        (self.state / "weft.yaml").write_text(f"pods: [{{name: one, namespace: default, ip: 10.9.0.2, network_namespace: /proc/{self.pod.pid}/ns/net, cgroup: {self.cgroup}/pod}}]\n")
        self.weftd = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.health = free.getsockname()

    def start(self, port):
        log = open(self.state / "log", "w", encoding="utf-8")
        self.weftd = subprocess.Popen(["chroot", self.root, "/usr/sbin/weftd", "--config", self.state / "weft.yaml", "--xds", f"grpc://127.0.0.1:{port}", "--xds-cache", self.state / "cache",
                                       "--control", self.state / "weft.sock", "--bpffs", self.state / "bpffs", "--cgroup", self.cgroup / "daemon",
                                       "--health-address", f"127.0.0.1:{self.health[1]}"], stderr=log, stdout=log)

    def is_ready(self):
        try:
            with socket.create_connection(self.health, 1) as connection:
                connection.sendall(b"GET /healthz/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return connection.recv(64).split()[1:2] == [b"200"]
        except OSError:
            return False

    def wait(self, seconds=30):
        end = time.monotonic() + seconds
        while not self.is_ready():
            if time.monotonic() > end or self.weftd.poll() is not None:
                raise SystemExit("start: weftd does not get ready:\n" + (self.state / "log").read_text())
            time.sleep(0.001)

    def stop(self):
        self.weftd.terminate()
        if self.weftd.wait(20):
            raise SystemExit("start: weftd does not end cleanly:\n" + (self.state / "log").read_text())
        self.weftd = None

    def fill_cache(self):
        feed = live.Feed(live.Recording().first)
        self.start(feed.port)
        feed.await_begin()
        self.wait()
        end = time.monotonic() + 20
        while not list((self.state / "cache").glob("*.xds")) and time.monotonic() < end:
            time.sleep(0.01)
        self.stop()
        feed.stop()

    def measure(self):
        begun = time.monotonic()
        self.start(9)
        self.wait()
        return (time.monotonic() - begun) * 1e3

    def end(self):
        if self.weftd:
            self.weftd.kill()
            self.weftd.wait()
        self.pod.kill()
        self.pod.wait()
        subprocess.run(["umount", "-l", self.state / "bpffs"], capture_output=True, check=False)
        subprocess.run(["umount", "-l", self.root / self.state.relative_to("/")], check=False)
        shutil.rmtree(self.state, ignore_errors=True)
        shutil.rmtree(self.root / self.state.relative_to("/"), ignore_errors=True)
        for path, folders, _ in os.walk(self.cgroup, topdown=False):
            for each in folders:
                os.rmdir(os.path.join(path, each))
        self.cgroup.rmdir()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", required=True)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--bar", type=int, default=300)
    arguments = parser.parse_args()
    start = Start(arguments.root)
    try:
        start.fill_cache()
        size = sum(file.stat().st_size for file in (start.state / "cache").iterdir())
        times = []
        for _ in range(arguments.starts):
            times.append(start.measure())
            start.stop()
        print(f"image: ready after {statistics.median(times):.0f} ms from a cache of {size >> 10} KiB, without istiod ({', '.join(f'{each:.0f}' for each in times)}; "
              f"at most {arguments.bar} where nobody else wants the processors)")
    finally:
        start.end()


if __name__ == "__main__":
    main()
