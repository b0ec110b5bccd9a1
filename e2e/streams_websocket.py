"""Exec, port-forward and logs over WebSocket: as the official Python client speaks it, and by hand in the protocols that no kubectl uses."""

import base64
import json
import ssl
import time

import websocket
from kubernetes import client, config
from kubernetes.stream import portforward, stream

config.load_kube_config()
api = client.ApiClient()
core = client.CoreV1Api(api)
settings = api.configuration
BINARY, TEXT = websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT


def step(function):
    """Runs a function at once and reports it by its name."""
    function()
    print("ok", "over WebSocket:", function.__name__.replace("_", " "), flush=True)


def connect(path, protocols=None, user=None):
    """Opens a WebSocket to the API server with the credentials of the kubeconfig."""
    trust = {"ca_certs": settings.ssl_ca_cert, "certfile": settings.cert_file, "keyfile": settings.key_file}
    headers = [f"authorization: {token}"] if (token := settings.get_api_key_with_prefix("authorization")) else []
    headers += [f"impersonate-user: {user}"] if user else []
    url = settings.host.replace("https", "wss", 1) + path
    return websocket.create_connection(url, subprotocols=protocols, sslopt=trust, header=headers, timeout=20)


def messages(socket):
    """Returns everything that is said up to the goodbye, and its code."""
    said = []
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return said, int.from_bytes(data[:2], "big")
        said.append((opcode, data))


def channel(said, number, first=lambda byte: byte):
    """Returns what was said on one channel."""
    return b"".join(data[1:] for _, data in said if first(data[0]) == number)


EXEC = "/api/v1/namespaces/default/pods/streams/exec?stdout=true&stderr=true&command="


@step
def the_python_client_runs_a_command_and_learns_its_exit_code():
    answer = stream(core.connect_get_namespaced_pod_exec, "streams", "default", command=["fail"], stdout=True,
                    stderr=True, stdin=False, tty=False, _preload_content=False)
    answer.run_forever(timeout=20)
    assert (answer.read_stdout(), answer.read_stderr(), answer.returncode) == ("out\n", "err\n", 3)


@step
def the_python_client_talks_to_a_command():
    answer = stream(core.connect_get_namespaced_pod_exec, "streams", "default", command=["cat"], stdout=True,
                    stderr=True, stdin=True, tty=False, _preload_content=False)
    for word in ["one\n", "two\n"]:
        answer.write_stdin(word)
        assert answer.readline_stdout(timeout=20) + "\n" == word
    answer.close()


@step
def the_python_client_forwards_a_port():
    pod = core.list_namespaced_pod("default", label_selector="app=hello-http").items[0].metadata.name
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, "default", ports="8080")
    http = forwarded.socket(8080)
    http.settimeout(20)
    http.sendall(b"GET /python HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := http.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert forwarded.error(8080) is None


@step
def a_port_that_is_not_open_is_an_error():
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "streams", "default", ports="81")
    end = time.monotonic() + 20
    while not (error := forwarded.error(81)) and time.monotonic() < end:
        time.sleep(0.1)
    assert "error forwarding port 81 to pod streams" in error, error


@step
def each_version_says_how_a_command_ended_in_its_way():
    for protocol in ["v5.channel.k8s.io", "v4.channel.k8s.io"]:
        said, code = messages(connect(EXEC + "fail", [protocol]))
        assert said[0] == (BINARY, b"\1") and code == 1000, said
        status = json.loads(channel(said, 3))
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}], status
        assert (channel(said, 1), channel(said, 2)) == (b"out\n", b"err\n")
    for protocols in [["channel.k8s.io"], None]:
        said, code = messages(connect(EXEC + "fail", protocols))
        assert channel(said, 3).startswith(b"command terminated with non-zero exit code") and code == 1000, said


@step
def base64_is_for_clients_that_speak_text():
    for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"]:
        said, _ = messages(connect(EXEC + "fail", [protocol]))
        assert all(opcode == TEXT for opcode, _ in said), said
        assert base64.b64decode(channel(said, 1, lambda byte: byte - ord("0"))) == b"out\n"


@step
def the_end_of_the_input_is_a_message_of_v5():
    socket = connect(EXEC + "cat&stdin=true", ["v5.channel.k8s.io"])
    socket.send_binary(b"\0hello")
    socket.send_binary(b"\xff\0")
    said, _ = messages(socket)
    assert channel(said, 1) == b"hello" and json.loads(channel(said, 3))["status"] == "Success", said


@step
def an_unknown_protocol_is_refused():
    try:
        connect(EXEC + "fail", ["v9.channel.k8s.io"])
    except websocket.WebSocketBadStatusException as error:
        assert error.status_code == 403 and b"requested protocol(s) are not supported" in error.resp_body, error
    else:
        raise AssertionError("it was accepted")


@step
def logs_come_as_messages():
    pod = core.list_namespaced_pod("default", label_selector="app=hello-http").items[0].metadata.name
    path = f"/api/v1/namespaces/default/pods/{pod}/log?tailLines=3"
    text = core.read_namespaced_pod_log(pod, "default", tail_lines=3).encode()
    for protocols in [["binary.k8s.io"], None]:
        said, code = messages(connect(path, protocols))
        assert said[0] == (BINARY, b"") and b"".join(data for _, data in said) == text and code == 1000, said
    said, _ = messages(connect(path, ["base64.binary.k8s.io"]))
    assert b"".join(base64.b64decode(data) for _, data in said) == text, said


@step
def a_websocket_needs_the_right_to_create():
    reader = client.V1Role(metadata={"name": "reader"}, rules=[
        {"apiGroups": [""], "resources": ["pods", "pods/exec"], "verbs": ["get"]}])
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role("default", reader)
    rbac.create_namespaced_role_binding("default", {"metadata": {"name": "reader"}, "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]})
    try:
        connect(EXEC + "fail", ["v5.channel.k8s.io"], user="ann")
    except websocket.WebSocketBadStatusException as error:
        refusal = json.loads(error.resp_body)["message"]
        assert error.status_code == 403 and 'User "ann" cannot create resource "pods/exec"' in refusal, refusal
    else:
        raise AssertionError("it was allowed")
