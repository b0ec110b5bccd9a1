#!/usr/bin/env python3
"""A registry that misbehaves, by the name of the image: fake_registry.py PORT WASM [MORE...].

good, lying (other bytes than the digest says), truncating (closes in the middle, and once more), resuming (closes in the
middle and goes on at a range), hanging (never answers), redirecting (to the metadata service of a cloud), bomb (a small
layer that unpacks to gigabytes), huge (a manifest without end), page (a sign-in page instead of a manifest).
"""
import gzip
import hashlib
import io
import json
import pathlib
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WASM = open(sys.argv[2], "rb").read()
NAMES = ["good", "lying", "truncating", "resuming", "hanging", "redirecting"]


def module(name):
    """The module with a section of its own: one that a node has already is not asked for again."""
    name = name.encode()
    return WASM + bytes([0, len(name) + 1, len(name)]) + name


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def bomb():
    """Three gigabytes of zeroes, as a tar of one file, in three megabytes."""
    size = 3 << 30
    head = tarfile.TarInfo("app.wasm")
    head.size = size
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(head.tobuf(tarfile.GNU_FORMAT))
        # One compressed member, again and again: making a bomb is cheap as well.
    zeroes = gzip.compress(bytes(64 << 20), 9)
    return packed.getvalue() + zeroes * (size // (64 << 20))


MORE = {pathlib.Path(path).stem: open(path, "rb").read() for path in sys.argv[3:]}
BLOBS = {digest(data): data for data in [b"{}", *map(module, NAMES), *MORE.values()]}
MODULES = set(map(module, NAMES))
BOMB = bomb()
BLOBS[digest(BOMB)] = BOMB


def manifest(layer, media_type, config_type="application/vnd.wasm.config.v0+json"):
    described = lambda kind, data: {"mediaType": kind, "digest": digest(data), "size": len(data)}
    return json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described(config_type, b"{}"), "layers": [described(media_type, layer)],
    }).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self, status, body, sent):
        """Announces all and sends a part."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()
        self.close_connection = True

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if len(parts) != 4:
            return self.answer(200 if parts == ["v2"] else 404)
        _, name, kind, which = parts
        if name == "hanging":
            return threading.Event().wait(300)
        if kind == "manifests":
            return self.manifest(name)
        if kind == "blobs" and which in BLOBS:
            return self.blob(name, BLOBS[which])
        return self.answer(404)

    def manifest(self, name):
        if name == "page":
            return self.answer(200, b"<html>please sign in</html>", Content_Type="text/html")
        if name == "huge":
            return self.answer(200, b"x" * (8 << 20))
        if name == "bomb":
            tar = "application/vnd.oci.image.layer.v1.tar+gzip"
            return self.answer(200, manifest(BOMB, tar, "application/vnd.oci.image.config.v1+json"))
        return self.answer(200, manifest(MORE.get(name) or module(name), "application/wasm"))

    def blob(self, name, data):
        if data in MODULES and name == "redirecting":
            return self.answer(307, Location="http://169.254.169.254/latest/meta-data/")
        if data in MODULES and name == "lying":
            return self.answer(200, bytes(len(data)))
        if data in MODULES and name == "truncating":
            return self.cut(200, data, 1000)
        start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        if data in MODULES and name == "resuming":
            rest = data[int(start):]
            return self.cut(206 if int(start) else 200, rest, len(rest) // 3 + 1)
        return self.answer(200, data)


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
