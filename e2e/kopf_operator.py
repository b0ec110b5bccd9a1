"""A kopf operator for Orchards: keeps a ConfigMap of trees for each, counts days in the status, cleans up before one goes."""

import os
import pathlib

import kopf
from kubernetes import client, config

# What the operator has done, across its lives.
JOURNAL = pathlib.Path(os.environ["JOURNAL"])
RUN = os.environ["RUN"]


def note(text):
    with JOURNAL.open("a") as journal:
        journal.write(f"{RUN}: {text}\n")


@kopf.on.startup()
def ready(settings, **_):
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = "orchards.example.com/kopf"
    note("started")


@kopf.on.create("orchards")
@kopf.on.update("orchards", field="spec")
def plant(spec, name, namespace, body, patch, **_):
    data = {f"tree-{number}": spec["fruit"] for number in range(spec["trees"])}
    trees = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-trees"}, "data": data}
    kopf.adopt(trees)
    core = client.CoreV1Api()
    core.patch_namespaced_config_map(
        trees["metadata"]["name"], namespace, trees, field_manager="orchards", force=True,
        _content_type="application/apply-patch+yaml")
    patch.status["planted"] = spec["trees"]
    kopf.info(body, reason="Planted", message=f"{spec['trees']} {spec['fruit']}")
    note(f"planted {spec['trees']} for {name}")
    return f"{spec['trees']} {spec['fruit']}"


@kopf.timer("orchards", interval=0.5)
def grow(status, patch, **_):
    patch.status["days"] = status.get("days", 0) + 1


@kopf.on.delete("orchards")
def fell(name, **_):
    note(f"felled {name}")


@kopf.on.event("", "v1", "configmaps", labels={"orchard": kopf.PRESENT})
def seen(event, name, **_):
    note(f"saw {event['type']} of {name}")
