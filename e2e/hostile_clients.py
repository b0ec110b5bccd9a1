#!/usr/bin/env python3
"""Clients that mean no good, against a running API server, while a probe measures what everyone else notices.

usage: hostile_clients.py KUBECONFIG PID
Prints one line for each attack: `ok NAME ...` or `FAIL NAME ...`. Needs nothing but the standard library.
"""
import base64, json, re, socket, ssl, sys, tempfile, threading, time

KUBECONFIG, PID = sys.argv[1], int(sys.argv[2])
TEXT = open(KUBECONFIG).read()
FIELD = lambda name: re.search(rf"{name}: (\S+)", TEXT).group(1)
HOST, PORT = FIELD("server").removeprefix("https://").rsplit(":", 1)
PORT = int(PORT)
PROBE_MAX = 1.0  # seconds; the machine may be busy with other tests
GROWTH_MAX = 400  # MiB over all attacks


def pem(name):
    file = tempfile.NamedTemporaryFile(suffix=".pem")
    file.write(base64.b64decode(FIELD(name)))
    file.flush()
    return file


CA, CERTIFICATE, KEY = pem("certificate-authority-data"), pem("client-certificate-data"), pem("client-key-data")


def context():
    made = ssl.create_default_context(cafile=CA.name)
    made.check_hostname = False
    made.load_cert_chain(CERTIFICATE.name, KEY.name)
    return made


ADMIN = context()


def connect(timeout=30):
    return ADMIN.wrap_socket(socket.create_connection((HOST, PORT), timeout=timeout), server_hostname="kubernetes")


def ask(method, path, body=b"", headers=(), timeout=60):
    """One request on a connection of its own; returns code and body."""
    stream = connect(timeout)
    lines = [f"{method} {path} HTTP/1.1", "host: test", "connection: close", f"content-length: {len(body)}", *headers]
    stream.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    answer = b""
    while chunk := stream.recv(65536):
        answer += chunk
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def resident():
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{PID}/status").read()).group(1)) / 1024


class Probe(threading.Thread):
    """Somebody who behaves, all the time: how long does the worst of his requests take?"""

    def __init__(self):
        super().__init__(daemon=True)
        self.worst, self.failed, self.over = 0.0, None, False

    def run(self):
        while not self.over:
            began = time.monotonic()
            try:
                code, _ = ask("GET", "/api/v1/namespaces/default", timeout=10)
                if code != 200:
                    self.failed = f"code {code}"
            except OSError as error:
                self.failed = str(error)
            self.worst = max(self.worst, time.monotonic() - began)
            time.sleep(0.02)


def attack(name, run):
    probe = Probe()
    probe.start()
    try:
        wrong = run()
    except Exception as error:  # whatever breaks is the attack's failure
        wrong = repr(error)
    probe.over = True
    probe.join()
    wrong = wrong or probe.failed or (probe.worst > PROBE_MAX and "the probe waited")
    print(f"{'FAIL' if wrong else 'ok'} {name}: probe {probe.worst * 1000:.0f} ms, {resident():.0f} MiB {wrong or ''}", flush=True)


def handshakes():
    held = [socket.create_connection((HOST, PORT)) for _ in range(500)]
    for stream in held[::2]:
        stream.sendall(b"\x16\x03\x01\x02\x00\x01")
    held[0].settimeout(20)
    try:
        return "not closed" if held[0].recv(1) else None
    except ConnectionError:
        return None


def slow_headers():
    held = [connect() for _ in range(200)]
    for stream in held:
        stream.sendall(b"GET /version HTTP/1.1\r\nhost: test\r\nx-slow: ")
    for _ in range(5):
        time.sleep(0.2)
        for stream in held:
            stream.sendall(b"a")
    for stream in held:
        stream.close()


def slow_bodies():
    held = [connect() for _ in range(200)]
    head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
    for stream in held:
        stream.sendall(head.encode())
    time.sleep(1)
    for stream in held:
        stream.close()


def oversized():
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"big"},"data":{"a":"' + b"x" * (4 << 20) + b'"}}'
    for _ in range(20):
        try:
            code, _ = ask("POST", "/api/v1/namespaces/default/configmaps", body, ["content-type: application/json"])
        except (ConnectionError, ssl.SSLError):
            continue  # it may hang up while we still send
        if code != 413:
            return f"code {code}"


def nested():
    for text in (b"[" * 1_000_000, b'{"a":' * 300_000, b"[" * 500_000 + b"]" * 500_000):
        for kind in ("application/json", "application/yaml"):
            code, _ = ask("POST", "/api/v1/namespaces/default/configmaps", text, [f"content-type: {kind}"])
            if code not in (400, 413):
                return f"{kind}: code {code}"


def laughs():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    wide = "a: &a " + "x" * (1 << 20) + "\nb: [" + "*a," * 300_000 + "]"
    for text in ["\n".join(lines), wide] * 5:
        code, _ = ask("POST", "/api/v1/namespaces/default/configmaps", text.encode(), ["content-type: application/yaml"])
        if code != 400:
            return f"code {code}"


def garbage():
    for _ in range(100):
        stream = connect()
        stream.sendall(b"\x00\xff" * 5000 + b"\r\n\r\n")
        stream.close()
        plain = socket.create_connection((HOST, PORT))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        plain.close()


def deaf_watchers():
    held = []
    for _ in range(50):
        stream = connect()
        stream.sendall(b"GET /api/v1/configmaps?watch=true HTTP/1.1\r\nhost: test\r\n\r\n")
        held.append(stream)
    value = "x" * 300_000
    for number in range(40):
        body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"deaf-{number}"}, "data": {"a": value}})
        code, _ = ask("POST", "/api/v1/namespaces/default/configmaps", body.encode(), ["content-type: application/json"])
        if code != 201:
            return f"code {code}"
    for stream in held:
        stream.close()


def many_watches():
    """10,000 watches of one client, HTTP/1.1 as h2 needs more than the standard library."""
    held = []
    for number in range(int(sys.argv[3]) if len(sys.argv) > 3 else 2000):
        stream = connect()
        stream.sendall(b"GET /api/v1/namespaces/none/pods?watch=true HTTP/1.1\r\nhost: test\r\n\r\n")
        held.append(stream)
    for stream in held[::100]:
        stream.settimeout(20)
        if not stream.recv(12).startswith(b"HTTP/1.1 200"):
            return "a watch was refused"
    for stream in held:
        stream.close()


def unread_lists():
    held = []
    for _ in range(20):
        stream = connect()
        stream.sendall(b"GET /api/v1/configmaps HTTP/1.1\r\nhost: test\r\n\r\n")
        held.append(stream)
    time.sleep(1)
    for stream in held:
        stream.close()


before = resident()
for one in (handshakes, slow_headers, slow_bodies, oversized, nested, laughs, garbage, deaf_watchers, unread_lists, many_watches):
    attack(one.__name__, one)
growth = resident() - before
print(f"{'FAIL' if growth > GROWTH_MAX else 'ok'} memory: {before:.0f} MiB before, {growth:.0f} MiB more after")
