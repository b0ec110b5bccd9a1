"""Somebody else's server that extends the API: admission webhooks and conversions, one behaviour per path.
Usage: extension_server.py PORT CERTIFICATE KEY; prints one line for each request: the path, then what it says."""

import base64
import copy
import http.server
import json
import ssl
import sys


def patch(*operations):
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


def count(request):
    """Counts its own calls in the object, so that a second one shows."""
    labels = request["object"]["metadata"].get("labels", {})
    seen = str(int(labels.get("calls", "0")) + 1)
    return patch({"op": "add", "path": "/metadata/labels", "value": {**labels, "calls": seen}})


def mark(request):
    labels = request["object"]["metadata"].get("labels", {})
    return patch({"op": "add", "path": "/metadata/labels", "value": {**labels, "marked": "yes"}})


ADMISSION = {
    "/allow": lambda request: {"allowed": True, "warnings": ["mind the gap"], "auditAnnotations": {"seen": "by-hook"}},
    "/deny": lambda request: {"allowed": False, "status": {"message": "not today", "code": 403}},
    "/silent": lambda request: {"allowed": False},
    "/liar": lambda request: {"allowed": True, "uid": "somebody-else"},
    "/typo": lambda request: patch({"op": "add", "path": "/data/number", "value": 3}),
    "/lost": lambda request: patch({"op": "remove", "path": "/data/nowhere"}),
    "/count": count,
    "/mark": mark,
}


def convert(request):
    """Between v1, which has a host and a port, and v1beta1, which has both in one text."""
    converted = []
    for original in request["objects"]:
        document, spec = copy.deepcopy(original), original["spec"]
        document["apiVersion"] = request["desiredAPIVersion"]
        if request["desiredAPIVersion"].endswith("/v1"):
            host, _, port = spec["address"].partition(":")
            document["spec"] = {"host": host, "port": port}
            if host == "refused":
                return {"result": {"status": "Failure", "message": "no such host"}}
            if host == "renamed":
                document["metadata"]["name"] = "other"
        else:
            document["spec"] = {"address": f"{spec['host']}:{spec['port']}"}
        converted.append(document)
    return {"convertedObjects": converted, "result": {"status": "Success"}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def do_GET(self):
        self.answer(200, b"here")

    def do_POST(self):
        path = self.path.split("?")[0]
        review = json.loads(self.rfile.read(int(self.headers["content-length"])))
        request = review["request"]
        print(path, json.dumps(request), flush=True)
        if path == "/hang":
            self.rfile.read()  # until the client gives up
        elif path == "/broken":
            self.answer(500, b"boom")
        elif path == "/garbage":
            self.answer(200, b"{never json")
        elif path == "/convert":
            self.answer(200, self.review(review, convert(request)))
        elif path in ADMISSION:
            self.answer(200, self.review(review, ADMISSION[path](request)))
        else:
            self.answer(404, {})

    @staticmethod
    def review(review, response):
        response = {"uid": review["request"]["uid"], **response}
        return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}


port, certificate, key = sys.argv[1:]
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
