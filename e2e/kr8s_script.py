"""What scripts do with kr8s: objects, waits, scaling, watches, forwarded ports, logs."""

import urllib.request

import kr8s
from kr8s.objects import ConfigMap, Deployment, Pod

api = kr8s.api()
assert api.version()["major"] == "1"
assert api.whoami() == "kubernetes-admin"
print("ok it says who it is")

map = ConfigMap({"metadata": {"name": "notes", "labels": {"of": "kr8s"}}, "data": {"a": "1"}})
map.create()
map.patch({"data": {"b": "2"}})
map.label({"seen": "yes"})
map.refresh()
assert map.raw["data"] == {"a": "1", "b": "2"} and map.labels["seen"] == "yes"
assert [each.name for each in kr8s.get("configmaps", label_selector="of=kr8s")] == ["notes"]
map.delete()
assert not map.exists()
print("ok objects live and die")

labels = {"app": "kr8s"}
container = {"name": "main", "image": "hello-http:v1", "ports": [{"containerPort": 8080}]}
deployment = Deployment({
    "metadata": {"name": "kr8s"},
    "spec": {"replicas": 1, "selector": {"matchLabels": labels},
             "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}})
deployment.create()
deployment.wait("condition=Available", timeout=30)
deployment.scale(2)
deployment.wait("jsonpath='{.status.readyReplicas}'=2", timeout=30)
pods = deployment.pods()
assert len(pods) == 2, pods
for pod in pods:
    pod.wait("condition=Ready", timeout=30)
print("ok a deployment is scaled and waited for")

for event, pod in kr8s.watch("pods", label_selector="app=kr8s"):
    assert event == "ADDED" and isinstance(pod, Pod)
    break
print("ok a watch begins with what is there")

with pods[0].portforward(8080, local_port="auto") as port:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    answer = opener.open(f"http://127.0.0.1:{port}/through-kr8s", timeout=10).read().decode()
    assert "hello from" in answer, answer
assert any("GET /through-kr8s" in line for line in pods[0].logs())
print("ok a port is forwarded and the log tells it")

deployment.delete(propagation_policy="Foreground")
deployment.wait("delete", timeout=30)
print("ok and gone")
