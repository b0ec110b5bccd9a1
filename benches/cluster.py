"""What the benches share: a cluster of wkube to measure, and what the kernel says about processes."""

import atexit
import base64
import http.client
import json
import os
import platform
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

PODS = "/api/v1/namespaces/default/pods"
ROOT = Path(__file__).resolve().parent.parent
HOST = "hello-http.default.localhost"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rss_mib(pid, kind="VmRSS"):
    """What a process has in memory; of a kind, such as `RssAnon`: what is its own, and no file's."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status).group(1)) / 1024


def cpu_seconds(pid):
    """Processor time of the process so far, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def eventually(what, seconds, check):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.002)
    raise SystemExit(f"{what}: not within {seconds} s")


class Cluster:
    """A running `wkube up`."""

    def __init__(self, wkube, data_dir, *more):
        self.wkube, self.dir = wkube, Path(data_dir)
        self.api, self.gateway, registry = free_port(), free_port(), free_port()
        flags = ["--data-dir", data_dir, "--api", f"127.0.0.1:{self.api}", "--gateway", f"127.0.0.1:{self.gateway}"]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [wkube, "up", *flags, "--registry", f"127.0.0.1:{registry}", *more],
            stdout=subprocess.DEVNULL,
            stderr=open(f"{data_dir}.log", "a"),
        )
        # Whatever fails here, nothing is left running.
        atexit.register(self.process.kill)

    def api_ready_ms(self):
        """Milliseconds from the start of the process until /readyz answers over TLS."""
        context = ssl._create_unverified_context()

        def ready():
            try:
                connection = http.client.HTTPSConnection("127.0.0.1", self.api, timeout=2, context=context)
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except OSError:
                return False

        eventually("API ready", 30, ready)
        return (time.monotonic() - self.began) * 1000

    def run(self, *arguments):
        command = [self.wkube, *arguments, "--kubeconfig", str(self.dir / "kubeconfig")]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def node_ready(self):
        command = [self.wkube, "get", "nodes", "--kubeconfig", str(self.dir / "kubeconfig")]
        # It fails until the kubeconfig is written.
        get = lambda: subprocess.run(command, capture_output=True, text=True).stdout  # noqa: E731
        eventually("node ready", 30, lambda: " Ready" in get())

    def answers(self, host=HOST):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.gateway, timeout=5)
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status == 200
        except OSError:
            return False

    def first_answer_ms(self):
        """Milliseconds from the start of `wkube apply` until the service answers."""
        began = time.monotonic()
        apply = [self.wkube, "apply", "-f", str(ROOT / "examples/hello-http"), "--kubeconfig", str(self.dir / "kubeconfig")]
        with subprocess.Popen(apply, stdout=subprocess.DEVNULL) as applying:
            eventually("first answer", 30, self.answers)
            took = (time.monotonic() - began) * 1000
            applying.wait()
        return took

    def ready_replicas(self):
        deployment = json.loads(self.run("get", "deploy", "hello-http", "-o", "json"))
        return deployment["status"].get("readyReplicas", 0)

    def scale(self, replicas):
        """Scales and returns the seconds until all replicas are ready."""
        began = time.monotonic()
        self.run("scale", "deploy/hello-http", f"--replicas={replicas}")
        eventually(f"{replicas} replicas", 300, lambda: self.ready_replicas() == replicas or time.sleep(0.1))
        return time.monotonic() - began

    def stop(self, how=signal.SIGINT):
        self.process.send_signal(how)
        self.process.wait(timeout=30)


class Api:
    """Requests to the API server with the administrator's certificate; a connection for each thread."""

    def __init__(self, cluster):
        config = (cluster.dir / "kubeconfig").read_text()
        self.port, self.local = cluster.api, threading.local()
        self.context = ssl._create_unverified_context()
        with tempfile.NamedTemporaryFile() as pem:
            for key in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(re.search(rf"{key}: *\"?([^\s\"]+)", config).group(1)) + b"\n")
            pem.flush()
            self.context.load_cert_chain(pem.name)

    def connect(self, timeout):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.context)

    def ask(self, method, path, body=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = self.connect(120)
        text = None if body is None else json.dumps(body)
        self.local.connection.request(method, path, text, {"Content-Type": "application/json"})
        response = self.local.connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise SystemExit(f"{method} {path}: {response.status} {answer[:300]}")
        return json.loads(answer)

    def pods(self, label):
        return self.ask("GET", f"{PODS}?labelSelector=bench%3D{label}")["items"]


def machine():
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) / 2**20
    name = cpu.group(1) if cpu else platform.machine()
    return f"{os.cpu_count()} × {name}, {memory:.0f} GiB, Linux {platform.release().split('-')[0]}"
