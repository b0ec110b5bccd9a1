"""What scripts do with the official Python client: typed and dynamic objects, every patch, pages, watches, logs, streams,
tokens and errors. Runs unmodified against any Kubernetes that can run the two images."""

import base64
import json
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

NAMESPACE = "python"
config.load_kube_config()
api = client.ApiClient()
core, apps, batch = client.CoreV1Api(api), client.AppsV1Api(api), client.BatchV1Api(api)


def step(function):
    """Runs a function at once and reports it by its name."""
    function()
    print("ok", function.__name__.replace("_", " "), flush=True)


def refused(code, call, *arguments, **options):
    """Returns the Status with which the server refuses a call."""
    try:
        call(*arguments, **options)
    except (ApiException, dynamic.exceptions.DynamicApiError) as error:
        assert error.status == code, error
        return json.loads(error.body)
    raise AssertionError(f"{call.__name__} succeeded instead of {code}")


def wait(what, look, seconds=30):
    """Returns what `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {what}")


def config_map(name, data=None, **meta):
    meta = client.V1ObjectMeta(name=name, **meta)
    return client.V1ConfigMap(metadata=meta, data=data or {"a": "1"})


def pod(name, image, **options):
    container = client.V1Container(name="main", image=image, **options)
    spec = client.V1PodSpec(containers=[container], restart_policy="Never")
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name), spec=spec)


@step
def the_server_says_its_version():
    assert client.VersionApi(api).get_code().major == "1"
    names = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= names, names


@step
def typed_objects_live_and_die():
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    made = core.create_namespaced_config_map(NAMESPACE, config_map("one"))
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", NAMESPACE, made)
    assert replaced.data == {"a": "1", "b": "2"}
    stale = refused(409, core.replace_namespaced_config_map, "one", NAMESPACE, made)
    assert stale["reason"] == "Conflict" and "the object has been modified" in stale["message"]
    assert refused(409, core.create_namespaced_config_map, NAMESPACE, config_map("one"))["reason"] == "AlreadyExists"
    status = core.delete_namespaced_config_map("one", NAMESPACE)
    assert status["status"] == "Success" and status["details"]["kind"] == "configmaps", status
    assert refused(404, core.read_namespaced_config_map, "one", NAMESPACE)["details"]["name"] == "one"


@step
def wrong_objects_are_refused_with_every_cause():
    wrong = {"metadata": {"name": "Bad_Name"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": []}}}}
    status = refused(422, apps.create_namespaced_deployment, NAMESPACE, wrong)
    fields = {cause["field"] for cause in status["details"]["causes"]}
    assert {"metadata.name", "spec.template.metadata.labels", "spec.template.spec.containers"} <= fields, fields
    # This client knows the fields itself; not so the dynamic one.
    unknown = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "dtaa": {}}
    path = f"/api/v1/namespaces/{NAMESPACE}/configmaps?fieldValidation=Strict"
    status = refused(400, dynamic.DynamicClient(api).request, "post", path, body=unknown)
    assert 'unknown field "dtaa"' in status["message"], status
    core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    refused(404, core.read_namespaced_config_map, "dry", NAMESPACE)


@step
def every_kind_of_patch_works():
    container = client.V1Container(name="main", image="primes:v1", env=[client.V1EnvVar(name="A", value="1")])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "p"}), spec=client.V1PodSpec(containers=[container]))
    spec = client.V1DeploymentSpec(
        replicas=0, selector=client.V1LabelSelector(match_labels={"app": "p"}), template=template)
    apps.create_namespaced_deployment(
        NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="p"), spec=spec))

    def patch(body, **options):
        return apps.patch_namespaced_deployment("p", NAMESPACE, body, **options)

    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "primes:v1"}]}}}}
    names = [each.name for each in patch(strategic).spec.template.spec.containers]
    assert sorted(names) == ["main", "side"], names
    operations = [{"op": "test", "path": "/spec/replicas", "value": 0},
                  {"op": "add", "path": "/metadata/labels", "value": {"patched": "yes"}}]
    assert patch(operations).metadata.labels == {"patched": "yes"}
    merged = patch({"spec": {"template": {"spec": {"containers": strategic["spec"]["template"]["spec"]["containers"]}}}},
                   _content_type="application/merge-patch+json")
    assert [each.name for each in merged.spec.template.spec.containers] == ["side"]
    refused(422, patch, [{"op": "test", "path": "/spec/replicas", "value": 9}])


@step
def server_side_apply_knows_who_owns_what():
    def apply(manager, data, **options):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": data}
        return core.patch_namespaced_config_map(
            "applied", NAMESPACE, body, field_manager=manager, _content_type="application/apply-patch+yaml", **options)

    apply("one", {"a": "1", "b": "1"})
    apply("two", {"c": "1"})
    status = refused(409, apply, "two", {"a": "2", "c": "1"})
    assert 'conflict with "one"' in status["message"], status
    assert status["details"]["causes"][0]["field"] == ".data.a", status
    apply("two", {"a": "2", "c": "1"}, force=True)
    left = apply("one", {"b": "1"})
    assert left.data == {"a": "2", "b": "1", "c": "1"}, left.data
    managers = {each.manager: each.operation for each in left.metadata.managed_fields}
    assert managers == {"one": "Apply", "two": "Apply"}, managers


@step
def pages_are_consistent():
    for number in range(25):
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number:02}", labels={"of": "pages"}))
    first = core.list_namespaced_config_map(NAMESPACE, limit=10, label_selector="of=pages")
    assert len(first.items) == 10
    core.create_namespaced_config_map(NAMESPACE, config_map("page-99", labels={"of": "pages"}))
    names, token = [each.metadata.name for each in first.items], first.metadata._continue
    while token:
        page = core.list_namespaced_config_map(NAMESPACE, limit=10, label_selector="of=pages", _continue=token)
        assert page.metadata.resource_version == first.metadata.resource_version
        names, token = names + [each.metadata.name for each in page.items], page.metadata._continue
    assert names == [f"page-{number:02}" for number in range(25)], names
    assert len(core.list_config_map_for_all_namespaces(field_selector="metadata.name=page-03").items) == 1
    refused(400, core.list_namespaced_config_map, NAMESPACE, _continue="forged")
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="of=pages")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="of=pages").items


@step
def watches_tell_everything_in_order():
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("watched"))
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("watched", NAMESPACE)
    events, watcher = [], watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, resource_version=start,
                                field_selector="metadata.name=watched", timeout_seconds=20):
        events.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            watcher.stop()
    assert events == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], events
    # A watch without a revision begins with what is there, and ends when its time is over.
    began = time.monotonic()
    seen = [event["type"] for event in watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, timeout_seconds=1)]
    assert "ADDED" in seen and time.monotonic() - began < 10
    # A revision of the future is told apart from one of the past.
    refused(504, core.list_namespaced_config_map, NAMESPACE, resource_version="999999999")


@step
def manifests_are_created_from_yaml():
    documents = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "from-yaml"},
                  "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
                 {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "from-yaml"},
                  "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}]
    utils.create_from_yaml(api, yaml_objects=documents, namespace=NAMESPACE)
    service = core.read_namespaced_service("from-yaml", NAMESPACE)
    assert service.spec.cluster_ip and service.spec.ports[0].target_port == 80
    assert client.PolicyV1Api(api).read_namespaced_pod_disruption_budget("from-yaml", NAMESPACE).spec.min_available == "50%"


@step
def the_dynamic_client_knows_a_new_kind():
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gizmos.python.example.com"},
        "spec": {"group": "python.example.com", "scope": "Namespaced",
                 "names": {"plural": "gizmos", "singular": "gizmo", "kind": "Gizmo"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                               "schema": {"openAPIV3Schema": {
                                   "type": "object", "properties": {
                                       "spec": {"type": "object", "properties": {
                                           "size": {"type": "integer", "minimum": 1, "default": 3}}},
                                       "status": {"type": "object", "properties": {
                                           "ready": {"type": "boolean"}}}}}}}]}}
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition)
    wait("the kind is established", lambda: any(
        each.type == "Established" and each.status == "True" for each in
        extensions.read_custom_resource_definition("gizmos.python.example.com").status.conditions or []))
    kinds = dynamic.DynamicClient(api)
    gizmos = kinds.resources.get(api_version="python.example.com/v1", kind="Gizmo")
    body = {"apiVersion": "python.example.com/v1", "kind": "Gizmo", "metadata": {"name": "g"}, "spec": {}}
    assert gizmos.create(body=body, namespace=NAMESPACE).spec.size == 3
    status = gizmos.status.patch(
        body={"status": {"ready": True}}, name="g", namespace=NAMESPACE, content_type="application/merge-patch+json")
    assert status.status.ready is True
    applied = gizmos.server_side_apply(
        body={**body, "spec": {"size": 5}}, name="g", namespace=NAMESPACE, field_manager="script", force_conflicts=True)
    assert applied.spec.size == 5
    refused(422, gizmos.create, body={**body, "metadata": {"name": "h"}, "spec": {"size": 0}}, namespace=NAMESPACE)
    for event in gizmos.watch(namespace=NAMESPACE, timeout=10):
        assert (event["type"], event["object"].metadata.name) == ("ADDED", "g")
        break
    custom = client.CustomObjectsApi(api)
    assert custom.list_cluster_custom_object("python.example.com", "v1", "gizmos")["items"][0]["spec"]["size"] == 5
    gizmos.delete(name="g", namespace=NAMESPACE)
    extensions.delete_custom_resource_definition("gizmos.python.example.com")


@step
def a_job_completes_and_its_log_is_read():
    container = client.V1Container(name="primes", image="primes:v1", args=["100"])
    template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
    job = client.V1Job(metadata=client.V1ObjectMeta(name="py"), spec=client.V1JobSpec(template=template))
    batch.create_namespaced_job(NAMESPACE, job)
    for event in watch.Watch().stream(batch.list_namespaced_job, NAMESPACE, timeout_seconds=30):
        if event["object"].metadata.name == "py" and (event["object"].status.succeeded or 0) > 0:
            break
    else:
        raise AssertionError("the job did not complete within 30 s")
    name = core.list_namespaced_pod(NAMESPACE, label_selector="job-name=py").items[0].metadata.name
    assert core.read_namespaced_pod_log(name, NAMESPACE) == "there are 25 primes below 100\n"
    lines = list(watch.Watch().stream(core.read_namespaced_pod_log, name, NAMESPACE))
    assert lines == ["there are 25 primes below 100"], lines
    batch.delete_namespaced_job("py", NAMESPACE, propagation_policy="Background")
    wait("the job's pod is gone", lambda: not core.list_namespaced_pod(NAMESPACE, label_selector="job-name=py").items)


@step
def a_log_is_followed_while_it_grows():
    core.create_namespaced_pod(NAMESPACE, pod("web", "hello-http:v1", ports=[client.V1ContainerPort(container_port=8080)]))
    wait("the pod runs", lambda: core.read_namespaced_pod_status("web", NAMESPACE).status.phase == "Running")
    seen, watcher = [], watch.Watch()

    def follow():
        for line in watcher.stream(core.read_namespaced_pod_log, "web", NAMESPACE):
            seen.append(line)
            if "GET /second" in line:
                watcher.stop()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    for path in ("/first", "/second"):
        core.connect_get_namespaced_pod_proxy_with_path("web", NAMESPACE, path.lstrip("/"))
        wait(f"the line of {path}", lambda: any(f"GET {path}" in line for line in seen))
    follower.join(10)
    assert not follower.is_alive()


def allowed(robot):
    try:
        return robot.list_namespaced_pod(NAMESPACE)
    except ApiException as error:
        assert error.status == 403, error


@step
def a_token_speaks_for_its_service_account():
    core.create_namespaced_service_account(
        NAMESPACE, client.V1ServiceAccount(metadata=client.V1ObjectMeta(name="robot")))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("robot", NAMESPACE, request).status.token
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==="))
    assert claims["sub"] == f"system:serviceaccount:{NAMESPACE}:robot", claims
    settings = client.Configuration(host=api.configuration.host)
    settings.ssl_ca_cert, settings.api_key = api.configuration.ssl_ca_cert, {"authorization": f"Bearer {token}"}
    robot = client.CoreV1Api(client.ApiClient(settings))
    status = refused(403, robot.list_namespaced_pod, NAMESPACE)
    assert f'User "system:serviceaccount:{NAMESPACE}:robot" cannot list resource "pods"' in status["message"], status
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role_binding(NAMESPACE, {
        "metadata": {"name": "robot"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": NAMESPACE}]})
    wait("the binding holds", lambda: allowed(robot))
    review = client.AuthenticationV1Api(api).create_token_review({"spec": {"token": token}})
    assert review.status.authenticated and review.status.user.username.endswith(":robot")
    settings.api_key = {"authorization": f"Bearer {token[:-4]}AAAA"}
    refused(401, client.CoreV1Api(client.ApiClient(settings)).list_namespaced_pod, NAMESPACE)


@step
def a_command_runs_in_a_pod():
    core.create_namespaced_pod(NAMESPACE, pod("echo", "streams:v1", args=["copy"], stdin=True))
    wait("the pod runs", lambda: core.read_namespaced_pod_status("echo", NAMESPACE).status.phase == "Running")
    command = {"stderr": True, "stdin": True, "stdout": True, "tty": False, "_preload_content": False}
    run = stream(core.connect_get_namespaced_pod_exec, "echo", NAMESPACE, command=["fail"], **command)
    run.run_forever(timeout=20)
    assert (run.read_stdout(), run.read_stderr(), run.returncode) == ("out\n", "err\n", 3), run.returncode
    run = stream(core.connect_get_namespaced_pod_exec, "echo", NAMESPACE, command=["cat"], **command)
    run.write_stdin("what goes in\n")
    assert run.readline_stdout(timeout=20) == "what goes in"
    run.close()


@step
def a_port_is_forwarded():
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", NAMESPACE, ports="8080")
    connection = forward.socket(8080)
    connection.settimeout(20)
    connection.sendall(b"GET /forwarded HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and b"hello from" in answer, answer
    assert forward.error(8080) is None


@step
def a_namespace_takes_everything_with_it():
    core.delete_namespace(NAMESPACE)

    def gone():
        try:
            core.read_namespace(NAMESPACE)
        except ApiException as error:
            return error.status == 404

    wait("the namespace is gone", gone, 60)
