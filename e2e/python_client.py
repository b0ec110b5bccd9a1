"""Runs a Job with the official Python client, watches it complete and prints its log."""

from kubernetes import client, config, watch

config.load_kube_config()
core, batch = client.CoreV1Api(), client.BatchV1Api()

container = client.V1Container(name="primes", image="primes:v1", args=["100"])
template = client.V1PodTemplateSpec(spec=client.V1PodSpec(restart_policy="Never", containers=[container]))
job = client.V1Job(metadata=client.V1ObjectMeta(name="py"), spec=client.V1JobSpec(template=template))
batch.create_namespaced_job("default", job)

for event in watch.Watch().stream(batch.list_namespaced_job, "default", timeout_seconds=30):
    if event["object"].metadata.name == "py" and (event["object"].status.succeeded or 0) > 0:
        break
else:
    raise SystemExit("the job did not complete within 30 s")

batch.patch_namespaced_job("py", "default", {"metadata": {"labels": {"seen": "yes"}}})
assert batch.read_namespaced_job("py", "default").metadata.labels["seen"] == "yes"
pod = core.list_namespaced_pod("default", label_selector="job-name=py").items[0]
print(core.read_namespaced_pod_log(pod.metadata.name, "default"), end="")
batch.delete_namespaced_job("py", "default", propagation_policy="Background")
