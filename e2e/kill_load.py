"""Kills a control plane under load and looks for what it had promised: kill_load.py PATH/TO/wkube DATA-DIR KILLS.

Sixteen writers change ConfigMaps of their own as fast as they are answered, two watchers look on. After each SIGKILL the
server starts again on the same data and the same port, and then:
  - each object is as its writer was last told, or as the one write left it that was under way;
  - the store's revision is not behind any that a writer or a watcher was told;
  - the watchers go on from the last version they know, and in the end each of them was told each acknowledged write exactly
    once, at the version that its writer was told, in the order of versions.
"""

import base64
import http.client
import json
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from free_port import free_port

WRITERS, WATCHERS, OBJECTS = 16, 2, 6
PATH = "/api/v1/namespaces/default/configmaps"
PATIENCE = 60  # seconds, for whatever must happen; nothing here depends on how quickly it does
FILLER = "x" * 1500
BROKEN = (OSError, http.client.HTTPException, ValueError)


class Server:
    """The control plane, which dies and comes back."""

    def __init__(self, wkube, data):
        given = set()
        self.port, self.data, self.process, self.context = free_port(given), Path(data), None, None
        self.command = [wkube, "server", "--data-dir", data, "--api", f"127.0.0.1:{self.port}"]
        self.command += ["--registry", f"127.0.0.1:{free_port(given)}"]

    def start(self):
        log = open(f"{self.data}.log", "ab")
        self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                if self.context is None:
                    self.context = self.trust()
                if self.connect().request("GET", "/readyz")[0] == 200:
                    return
            except (*BROKEN, KeyError, IndexError):
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                tail = Path(f"{self.data}.log").read_text(errors="replace")[-1500:]
                raise SystemExit(f"the server does not come back ({self.process.poll()}):\n{tail}")
            time.sleep(0.005)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def trust(self):
        """The administrator's certificates, from the kubeconfig that the server writes."""
        field = {}
        for line in (self.data / "kubeconfig").read_text().splitlines():
            name, _, value = line.strip().removeprefix("- ").partition(":")
            field[name] = value.strip().strip("\"'")
        context = ssl.create_default_context(cadata=base64.b64decode(field["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
            for name in ("client-certificate-data", "client-key-data"):
                pem.write(base64.b64decode(field[name]) + b"\n")
            pem.flush()
            context.load_cert_chain(pem.name)
        return context

    def connect(self):
        return Connection(self.port, self.context)


class Connection:
    def __init__(self, port, context):
        self.http = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)

    def request(self, method, path, body=None):
        text = json.dumps(body) if body is not None else None
        self.http.request(method, path, text, {"Content-Type": "application/json"})
        answer = self.http.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data.startswith(b"{") else {}


class Writer(threading.Thread):
    """One client with objects of its own, so that it knows what they hold."""

    def __init__(self, server, number, known):
        super().__init__()
        self.server, self.number, self.known = server, number, known
        self.acknowledged, self.doubtful, self.problem = [], None, None
        self.chance = random.Random()

    def run(self):
        try:
            connection = self.server.connect()
            while True:
                self.step(connection)
        except BROKEN:
            pass  # the server is dead
        except AssertionError as problem:
            self.problem = f"writer {self.number}: {problem}"

    def step(self, connection):
        name = f"w{self.number}-{self.chance.randrange(OBJECTS)}"
        known = self.known.get(name)
        value = str(self.chance.getrandbits(60))
        body = {"metadata": {"name": name}, "data": {"value": value, "filler": FILLER}}
        if known is None:
            request, wanted = ("POST", PATH, body), 201
        elif self.chance.random() < 0.1:
            request, wanted, value = ("DELETE", f"{PATH}/{name}", None), 200, None
        else:
            body["metadata"]["resourceVersion"] = known[1]
            request, wanted = ("PUT", f"{PATH}/{name}", body), 200
        self.doubtful = (name, value)
        code, answer = connection.request(*request)
        if code in (429, 500, 503, 504):
            raise http.client.HTTPException("it is ending")
        assert code == wanted, f"{request[0]} {name}: {code} {answer.get('message')}; known was {known}"
        if value is None:
            self.known.pop(name)
        else:
            version = answer["metadata"]["resourceVersion"]
            self.known[name] = (value, version)
            self.acknowledged.append((int(version), name, value))
        self.doubtful = None


class Watcher:
    """A watch that goes on wherever the last one broke off."""

    def __init__(self, number, version):
        self.number, self.version, self.events, self.problem = number, version, {}, None

    def follow(self, server):
        """Follows until the connection breaks."""
        try:
            connection = server.connect().http
            query = f"{PATH}?watch=true&allowWatchBookmarks=true&resourceVersion={self.version}"
            connection.request("GET", query)
            answer = connection.getresponse()
            assert answer.status == 200, f"watch from {self.version}: {answer.status} {answer.read(500)}"
            while line := answer.readline():
                if not line.endswith(b"\n"):
                    return  # cut off in the middle
                self.note(json.loads(line))
        except BROKEN:
            pass
        except AssertionError as problem:
            self.problem = f"watcher {self.number}: {problem}"

    def note(self, event):
        kind, item = event["type"], event["object"]
        assert kind != "ERROR", item
        version = int(item["metadata"]["resourceVersion"])
        if kind == "BOOKMARK":
            assert version >= self.version, f"a bookmark at {version} after {self.version}"
        else:
            assert version > self.version, f"{kind} at {version} after {self.version}"
            value = item["data"]["value"] if kind != "DELETED" and "value" in item.get("data", {}) else None
            self.events[version] = (item["metadata"]["name"], value)
        self.version = version


def check(problems):
    problems = [problem for problem in problems if problem]
    if problems:
        raise SystemExit("\n".join(problems))


def settle(writers, connection, told):
    """Compares the server's objects with what the writers know, and lets them know what became of the rest."""
    code, listed = connection.request("GET", PATH)
    if code != 200:
        raise SystemExit(f"list: {code} {listed}")
    revision = int(listed["metadata"]["resourceVersion"])
    check([f"revision {told} was told, and now it is {revision}" if revision < told else None])
    found = {}
    for item in listed["items"]:
        found[item["metadata"]["name"]] = (item.get("data", {}).get("value"), item["metadata"]["resourceVersion"])
    happened = []
    for writer in writers:
        for number in range(OBJECTS):
            name = f"w{writer.number}-{number}"
            now, known = found.get(name), writer.known.get(name)
            if now == known:
                continue
            doubtful = writer.doubtful
            if doubtful is None or doubtful[0] != name or (now[0] if now else None) != doubtful[1]:
                check([f"{name} was acknowledged as {known}, and now it is {now}; under way was {doubtful}"])
            if now is None:
                writer.known.pop(name)
            else:
                writer.known[name] = now
                happened.append((int(now[1]), name, now[0]))
        writer.doubtful = None
    return revision, happened


def main():
    wkube, data, kills = sys.argv[1], sys.argv[2], int(sys.argv[3])
    server, chance = Server(wkube, data), random.Random()
    server.start()
    _, listed = server.connect().request("GET", PATH)
    version = int(listed["metadata"]["resourceVersion"])
    watchers = [Watcher(number, version) for number in range(WATCHERS)]
    known = [{} for _ in range(WRITERS)]
    acknowledged, told, restarts = [], version, []
    began = time.monotonic()
    for _ in range(kills):
        writers = [Writer(server, number, known[number]) for number in range(WRITERS)]
        following = [threading.Thread(target=watcher.follow, args=(server,)) for watcher in watchers]
        for thread in following + writers:
            thread.start()
        time.sleep(chance.uniform(0.02, 0.5))
        server.kill()
        for thread in following + writers:
            thread.join()
        check([one.problem for one in writers + watchers])
        for writer in writers:
            acknowledged += writer.acknowledged
        told = max([told] + [watcher.version for watcher in watchers] + [write[0] for write in acknowledged[-5000:]])
        again = time.monotonic()
        server.start()
        restarts.append(time.monotonic() - again)
        told, happened = settle(writers, server.connect(), told)
        acknowledged += happened
    print(f"ok {len(acknowledged)} acknowledged writes outlive {kills} kills")
    # The last part of the story, until the newest revision is reached.
    following = [threading.Thread(target=watcher.follow, args=(server,)) for watcher in watchers]
    for thread in following:
        thread.start()
    code, last = server.connect().request("POST", PATH, {"metadata": {"name": "last"}, "data": {"value": "last"}})
    end, version = time.monotonic() + PATIENCE, int(last["metadata"]["resourceVersion"])
    while any(watcher.version < version and not watcher.problem for watcher in watchers):
        check([f"watchers are not told about {version}" if time.monotonic() > end else None])
        time.sleep(0.01)
    server.kill()
    for thread in following:
        thread.join()
    check([watcher.problem for watcher in watchers])
    versions = [write[0] for write in acknowledged]
    check(["a revision was given out twice" if len(set(versions)) != len(versions) else None])
    print("ok no revision is given out twice, and none goes back")
    for watcher in watchers:
        for version, name, value in acknowledged:
            check([None if watcher.events.get(version) == (name, value) else
                   f"watcher {watcher.number} was told {watcher.events.get(version)} at {version}, not {(name, value)}"])
    print("ok watches go on, and tell each write once")
    restarts.sort()
    print(f"{kills} kills in {time.monotonic() - began:.0f} s; restart p50 {restarts[len(restarts) // 2] * 1e3:.0f} ms, "
          f"slowest {restarts[-1] * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
