"""Answers each request with a line from the poem in the ConfigMap, as JSON; /3 gives the third line."""

import json
import os

from wit_world import exports
from componentize_py_types import Ok
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

LINES = [line for line in os.environ.get("POEM", "no POEM was given").splitlines() if line.strip()]


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        path = request.path_with_query() or "/"
        print(f"GET {path}", flush=True)
        status, answer = quote(path.strip("/"))
        respond(response_out, status, answer)


def quote(number: str) -> tuple[int, dict]:
    lines = [line for line in os.environ.get("POEM", "").splitlines() if line.strip()] or LINES
    if not number:
        return 200, {"lines": len(lines), "line": lines[0]}
    if not number.isdigit() or not 1 <= int(number) <= len(lines):
        return 404, {"error": f"there is no line {number}; there are {len(lines)}"}
    return 200, {"number": int(number), "line": lines[int(number) - 1]}


def respond(response_out: ResponseOutparam, status: int, answer: dict) -> None:
    response = OutgoingResponse(Fields.from_list([("content-type", b"application/json")]))
    response.set_status_code(status)
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    stream = body.write()
    stream.blocking_write_and_flush((json.dumps(answer) + "\n").encode())
    stream.__exit__(None, None, None)
    OutgoingBody.finish(body, None)
