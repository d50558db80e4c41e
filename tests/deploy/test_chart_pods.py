"""The chart's pods: what they are told, what they may do, and how they end."""

from collections.abc import Callable

import pytest

from deploy.manifests import (
    EVERYTHING,
    OF_UVICORN,
    POOL,
    VALUE_SETS,
    Manifest,
    Render,
    component_of,
    every_value_set,
    of_kind,
    pods_of,
    variables_of,
)
from deploy.restricted import violations
from program_service.settings import PREFIX, Settings

STOP_MARGIN_S = 15
"""What a process needs after GRACE_S, by docs/operate.md."""

SETTINGS = {field.upper() for field in Settings.model_fields}
NEEDS = {
    "api": {"DATABASE_URL", "AMQP_URL", "API_KEYS"},
    "worker": {"DATABASE_URL", "AMQP_URL"},
    "migration": {"DATABASE_URL"},
}
CREDENTIALS = NEEDS["api"]

BAD_PODS: dict[str, Manifest] = {
    "hostNetwork": {"hostNetwork": True},
    "volume hostPath": {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    "user 0": {"securityContext": {"runAsUser": 0}},
    "sysctl kernel.msgmax": {"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}},
}
BAD_CONTAINERS: dict[str, Manifest] = {
    "not privileged": {"privileged": True},
    "no escalation": {"allowPrivilegeEscalation": True},
    "not root": {"runAsNonRoot": False},
    "seccomp": {"seccompProfile": {"type": "Unconfined"}},
    "drops all": {"capabilities": {"drop": ["NET_RAW"]}},
    "adds none": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}},
    "usual /proc": {"procMount": "Unmasked"},
    "user 0": {"runAsUser": 0},
    "SELinux": {"seLinuxOptions": {"type": "spc_t"}},
    "AppArmor": {"appArmorProfile": {"type": "Unconfined"}},
}


@every_value_set
def test_every_variable_is_a_setting_or_said_in_values_and_none_is_set_twice(
    values: Manifest, render: Render
) -> None:
    own = {each["name"] for each in values.get("workerDefaults", {}).get("env", [])}
    for pod in pods_of(render(values)).values():
        (container,) = pod["spec"]["containers"]
        names = [each["name"] for each in container["env"]]
        assert len(set(names)) == len(names)
        ours = {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
        assert ours <= SETTINGS
        others = {name for name in names if not name.startswith((PREFIX, "OTEL_"))} - OF_UVICORN
        assert others == own


def test_migration_reaches_the_database_as_the_api_does(render: Render) -> None:
    """By the certificate of a private CA, for example."""
    root = {"name": "PGSSLROOTCERT", "value": "/etc/ca/ca.crt"}
    certificate = {"name": "ca", "configMap": {"name": "database-ca"}}
    mount = {"name": "ca", "mountPath": "/etc/ca", "readOnly": True}
    api = {"env": [root], "volumes": [certificate], "volumeMounts": [mount]}
    pods = {component_of(pod): pod["spec"] for pod in pods_of(render({"api": api})).values()}
    for component in ("api", "migration", "worker"):
        (container,) = pods[component]["containers"]
        has = [
            root in container["env"],
            mount in container["volumeMounts"],
            certificate in pods[component]["volumes"],
        ]
        assert has == [component != "worker"] * 3


@every_value_set
def test_every_pod_gets_the_credentials_that_it_needs_and_from_secrets_alone(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    assert of_kind("Secret", manifests) == []
    more = set(values.get("secretSettings", {}))
    for pod in pods_of(manifests).values():
        variables = variables_of(pod)
        needed = NEEDS[component_of(pod)]
        assert set(variables) & CREDENTIALS == needed
        assert all("secretKeyRef" in variables[each]["valueFrom"] for each in needed | more)


@every_value_set
def test_settings_understand_what_the_chart_sets(
    values: Manifest, render: Render, settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    for pod in pods_of(render(values)).values():
        variables = variables_of(pod).values()
        secret = {each["name"]: "secret://" for each in variables}
        secret.pop(f"{PREFIX}API_KEYS", None)
        settings_of(secret | {each["name"]: each["value"] for each in variables if "value" in each})


def test_worker_is_told_what_its_pool_says(
    render: Render, settings_of: Callable[[dict[str, str]], Settings]
) -> None:
    def told(name: str) -> Settings:
        variables = variables_of(pods[f"executor-worker-{name}"]).values()
        return settings_of({each["name"]: each.get("value", "secret://") for each in variables})

    pods = pods_of(render(EVERYTHING))
    mail, bulk = told("mail"), told("bulk")
    assert (mail.jobs, mail.queues) == (POOL["jobs"], POOL["queues"])
    assert mail.concurrency == POOL["concurrency"]
    assert mail.grace_s == EVERYTHING["workerDefaults"]["graceS"]
    assert mail.max_body_bytes == int(EVERYTHING["settings"]["MAX_BODY_BYTES"])
    assert (mail.threads, bulk.threads) == (Settings.model_fields["threads"].default, 8)
    assert mail.worker_host == "0.0.0.0"


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, "http://program-executor-api.jobs.svc:8080"),
        (EVERYTHING, "https://programs.example.org"),
        (VALUE_SETS["ingress_without_tls"], "http://a.example"),
        ({"settings": {"SERVICE_URL": "https://in.example"}}, "https://in.example"),
    ],
    ids=["in_the_cluster", "by_ingress", "without_tls", "as_said"],
)
def test_endpoints_are_told_where_the_api_is(values: Manifest, url: str, render: Render) -> None:
    for pod in pods_of(render(values)).values():
        assert variables_of(pod)["SERVICE_URL"]["value"] == url


def test_running_pods_are_told_where_their_spans_go(render: Render) -> None:
    for pod in pods_of(render(EVERYTHING)).values():
        endpoint = variables_of(pod).get("OTEL_EXPORTER_OTLP_ENDPOINT", {}).get("value")
        is_migration = component_of(pod) == "migration"
        assert endpoint == (None if is_migration else "http://collector:4318")


@every_value_set
def test_every_pod_meets_the_restricted_standard(values: Manifest, render: Render) -> None:
    for pod in pods_of(render(values)).values():
        assert violations(pod) == []


@pytest.mark.parametrize("name", [*BAD_PODS, *BAD_CONTAINERS])
def test_check_of_the_restricted_standard_finds_each_violation(name: str, render: Render) -> None:
    pod = pods_of(render({}))["program-executor-api"]
    pod["spec"]["securityContext"] |= BAD_PODS.get(name, {}).get("securityContext", {})
    pod["spec"] |= {k: v for k, v in BAD_PODS.get(name, {}).items() if k != "securityContext"}
    pod["spec"]["containers"][0]["securityContext"] |= BAD_CONTAINERS.get(name, {})
    assert name in violations(pod)


@every_value_set
def test_no_pod_can_write_but_to_tmp_or_talk_to_kubernetes(
    values: Manifest, render: Render
) -> None:
    for pod in pods_of(render(values)).values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert spec["volumes"][0] == {"name": "tmp", "emptyDir": {}}
        assert container["volumeMounts"][0] == {"name": "tmp", "mountPath": "/tmp"}
        mounted = {each["name"] for each in container["volumeMounts"]}
        assert mounted == {each["name"] for each in spec["volumes"]}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "they would set PROGRAM_EXECUTOR_PORT"


@every_value_set
def test_running_jobs_and_requests_have_their_grace_time(values: Manifest, render: Render) -> None:
    for manifest in of_kind("Deployment", render(values)):
        pod = manifest["spec"]["template"]
        grace_s = int(variables_of(pod)["GRACE_S"]["value"])
        (container,) = pod["spec"]["containers"]
        before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds")
        whole_s = pod["spec"]["terminationGracePeriodSeconds"]
        assert whole_s == (before_s or 0) + grace_s + STOP_MARGIN_S
        assert (before_s is not None) == (component_of(pod) == "api"), "requests still arrive"


@every_value_set
def test_migration_runs_before_all_else_and_needs_only_what_is_made_before_it(
    values: Manifest, render: Render
) -> None:
    manifests = render(values)
    jobs = of_kind("Job", manifests)
    assert len(jobs) == (0 if values.get("migration", {}).get("enabled") is False else 1)
    for job in jobs:
        hook = job["metadata"]["annotations"]
        assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
        account = job["spec"]["template"]["spec"]["serviceAccountName"]
        accounts = {each["metadata"]["name"]: each for each in of_kind("ServiceAccount", manifests)}
        policies = of_kind("NetworkPolicy", manifests)
        needed = [accounts[account]] if account in accounts else []
        needed += [each for each in policies if each["metadata"]["name"].endswith("-migration")]
        for each in needed:
            before = each["metadata"]["annotations"]
            assert before["helm.sh/hook"] == hook["helm.sh/hook"]
            assert int(before["helm.sh/hook-weight"]) < int(hook.get("helm.sh/hook-weight", 0))
    api = next(pod for pod in pods_of(manifests).values() if component_of(pod) == "api")
    assert variables_of(api)["MIGRATE_ON_START"]["value"] == "false"


def test_accounts_are_the_ones_made_or_named(render: Render) -> None:
    def accounts(values: Manifest) -> dict[str, str]:
        pods = pods_of(render(values)).values()
        return {component_of(pod): pod["spec"]["serviceAccountName"] for pod in pods}

    def all_with(name: str, migration: str) -> dict[str, str]:
        return {"api": name, "worker": name, "migration": migration}

    assert accounts({}) == all_with("program-executor", "program-executor-migration")
    assert accounts(EVERYTHING) == all_with("mine", "mine-migration")
    assert accounts(VALUE_SETS["own_account"]) == all_with("mine", "mine")
    assert set(accounts(VALUE_SETS["no_workers"]).values()) == {"default"}
    made = of_kind("ServiceAccount", render(EVERYTHING))
    assert all(
        each["metadata"]["annotations"]["cloud.example/role"] == "db"
        and each["automountServiceAccountToken"] is False
        for each in made
    )


@pytest.mark.parametrize(
    ("api", "believed"),
    [
        ({}, None),
        ({"ingress": {"enabled": True, "hosts": ["programs.example"]}}, "10.0.0.0/8"),
        ({"forwardedAllowIps": "10.1.2.3"}, "10.1.2.3"),
    ],
    ids=["nobody", "an ingress", "who is named"],
)
def test_proxies_are_believed_where_there_are_some(
    render: Render, api: Manifest, believed: str | None
) -> None:
    pods = pods_of(render({"api": api}))
    pod = next(pod for pod in pods.values() if component_of(pod) == "api")
    found = variables_of(pod).get("FORWARDED_ALLOW_IPS", {}).get("value")
    assert (found and found.split(",")[0]) == believed
