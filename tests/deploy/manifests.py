"""Manifests: what the chart is rendered with, and looks at what comes out."""

from collections.abc import Callable
from typing import Any

import pytest

from program_service.settings import PREFIX

Manifest = dict[str, Any]
Render = Callable[[Manifest], list[Manifest]]

POOL: Manifest = {
    "name": "mail",
    "replicas": 0,
    "queues": ["mail", "default"],
    "concurrency": 10_000,
    "jobs": ["shop.mails", "shop.bills"],
}
SCHEDULED: Manifest = {
    "podAnnotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
    "podLabels": {"team": "shop"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "jobs", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 1,
                    "preference": {"matchExpressions": [{"key": "ssd", "operator": "Exists"}]},
                }
            ]
        }
    },
    "priorityClassName": "important",
    "topologySpread": [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 2,
            "whenUnsatisfiable": "DoNotSchedule",
        }
    ],
    "env": [
        {"name": "SMTP_HOST", "value": "smtp"},
        {"name": "SMTP_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "smtp", "key": "pw"}}},
    ],
    "volumes": [{"name": "jobs", "configMap": {"name": "shop-jobs"}}],
    "volumeMounts": [{"name": "jobs", "mountPath": "/jobs", "readOnly": True}],
}
PEERS: list[Manifest] = [
    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
]
EVERYTHING: Manifest = {
    "fullnameOverride": "executor",
    "image": {"repository": "registry.example/executor", "tag": "9.9.9", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "secrets": {
        "databaseUrl": {"name": "postgres", "key": "uri"},
        "amqpUrl": {"name": "rabbitmq", "key": "connection_string"},
        "apiKeys": {"name": "keys", "key": "all"},
    },
    "secretSettings": {"NOTIFY_SECRET": {"name": "keys", "key": "notify"}},
    "settings": {"LEASE_S": "60", "MAX_BODY_BYTES": "2097152", "LOG_LEVEL": "DEBUG"},
    "openTelemetry": {"EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
    "podSecurityContext": {"fsGroup": 10001, "runAsUser": 10001},
    "api": {
        "replicas": 3,
        "graceS": 40,
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"cloud.example/lb": "1"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "120"},
            "hosts": ["programs.example.org", "jobs.example.org"],
            "tlsSecret": "programs-tls",
        },
        "resources": {"limits": {"memory": "1Gi"}},
        **SCHEDULED,
    },
    "workerDefaults": {"graceS": 90, **SCHEDULED},
    "workers": [
        POOL,
        POOL | {"name": "bulk", "image": "registry.example/bulk:1", "settings": {"THREADS": "8"}},
    ],
    "migration": {"timeoutS": 60, "retries": 0, "podAnnotations": {"sidecar/inject": "false"}},
    "serviceAccount": {"create": True, "name": "mine", "annotations": {"cloud.example/role": "db"}},
    "monitoring": {
        "monitors": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        "rules": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "runbookBase": "https://git.example/executor/blob/main/",
        },
        "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Jobs"}},
    },
}
SCALED: Manifest = {
    "api": {"autoscaling": {"enabled": True, "maxReplicas": 9}},
    "workers": [
        {"name": "cpu", "autoscaling": {"by": "cpu", "maxReplicas": 4}},
        {
            "name": "due",
            "queues": ["mail", "mail.eu 1"],
            "concurrency": 50,
            "graceS": 3600,
            "autoscaling": {"by": "due", "minReplicas": 0, "maxReplicas": 20},
        },
        {"name": "fixed", "podDisruptionBudget": {"maxUnavailable": "25%"}},
    ],
}
OWN_TRIGGER: Manifest = {
    "type": "prometheus",
    "metadata": {
        "serverAddress": "http://prometheus:9090",
        "query": "max(program_executor_worker_slots{state='busy'})",
        "threshold": "80",
    },
}

VALUE_SETS: dict[str, Manifest] = {
    "defaults": {},
    "everything": EVERYTHING,
    "no_workers": {"workers": [], "serviceAccount": {"create": False}},
    "no_migration": {"migration": {"enabled": False}},
    "own_account": {"serviceAccount": {"create": False, "name": "mine"}},
    "digest": {"image": {"digest": f"sha256:{'a' * 64}"}},
    "scaled": SCALED,
    "own_trigger": {
        "workers": [{"name": "due", "autoscaling": {"by": "due", "triggers": [OWN_TRIGGER]}}]
    },
    "ingress_without_tls": {"api": {"ingress": {"enabled": True, "hosts": ["a.example"]}}},
    "closed_network": {
        "networkPolicy": {
            "apiFrom": PEERS,
            "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
            "restrictEgress": True,
            "egress": {
                "databaseTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
                "endpointPorts": [],
                "extra": [{"ports": [{"port": 6379, "protocol": "TCP"}]}],
            },
        }
    },
    "open_network": {"networkPolicy": {"enabled": False}},
    "no_budgets": {
        "api": {"podDisruptionBudget": {"enabled": False}},
        "workerDefaults": {"podDisruptionBudget": {"enabled": False}},
    },
    "endpoints_only": {"workers": [{"name": "calls", "jobs": [], "resources": {}}]},
}
"""A value set of each kind, by name."""

every_value_set = pytest.mark.parametrize("values", VALUE_SETS.values(), ids=VALUE_SETS)

OF_UVICORN = {"FORWARDED_ALLOW_IPS"}
"""Variables that uvicorn reads itself."""


def of_kind(kind: str, manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(name: str, kind: str, manifests: list[Manifest]) -> Manifest:
    (found,) = [each for each in of_kind(kind, manifests) if each["metadata"]["name"] == name]
    return found


def pods_of(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return {name of a Deployment or Job: the template of its pods}."""
    owners = of_kind("Deployment", manifests) + of_kind("Job", manifests)
    return {owner["metadata"]["name"]: owner["spec"]["template"] for owner in owners}


def component_of(pod: Manifest) -> str:
    """Return api, worker or migration."""
    component: str = pod["metadata"]["labels"]["app.kubernetes.io/component"]
    return component


def variables_of(pod: Manifest) -> dict[str, Manifest]:
    """Return {name of a setting: its entry in the container}."""
    (container,) = pod["spec"]["containers"]
    return {each["name"].removeprefix(PREFIX): each for each in container["env"]}


def chosen(selector: Manifest, pods: dict[str, Manifest]) -> list[str]:
    """Return the names of whose pods these labels choose."""
    return [name for name in pods if selector.items() <= pods[name]["metadata"]["labels"].items()]
