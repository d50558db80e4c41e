"""The Pod Security Standard *restricted*, requirement by requirement.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator
from typing import Any

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
GOOD_PROFILES = {"RuntimeDefault", "Localhost"}
GOOD_SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t"}


def violations(pod: dict[str, Any]) -> list[str]:
    """Return what a pod's template does that the standard forbids."""
    spec = pod["spec"]
    containers = [
        each
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for each in spec.get(kind, [])
    ]
    found = [*_of_the_pod(spec), *_of_annotations(pod["metadata"])]
    for container in containers:
        found += _of_a_container(container, spec.get("securityContext", {}))
    return found


def _of_annotations(metadata: dict[str, Any]) -> Iterator[str]:
    for name, value in metadata.get("annotations", {}).items():
        if name.startswith(APPARMOR) and not value.startswith(("runtime/default", "localhost/")):
            yield f"AppArmor: {value}"


def _of_the_pod(spec: dict[str, Any]) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key))
    for volume in spec.get("volumes", []):
        yield from (f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES)
    context = spec.get("securityContext", {})
    yield from (f"sysctl {each['name']}" for each in context.get("sysctls", []))
    yield from _of_any_context(context)


def _of_a_container(container: dict[str, Any], above: dict[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    profile = context.get("seccompProfile", above.get("seccompProfile", {})).get("type")
    requirements = {
        "not privileged": not context.get("privileged"),
        "no escalation": context.get("allowPrivilegeEscalation") is False,
        "not root": context.get("runAsNonRoot", above.get("runAsNonRoot")) is True,
        "seccomp": profile in GOOD_PROFILES,
        "drops all": "ALL" in capabilities.get("drop", []),
        "adds none": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "usual /proc": context.get("procMount", "Default") == "Default",
        "no host ports": not any(port.get("hostPort") for port in container.get("ports", [])),
    }
    yield from (name for name, is_met in requirements.items() if not is_met)
    yield from _of_any_context(context)


def _of_any_context(context: dict[str, Any]) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield "user 0"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "host process"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type") not in GOOD_SELINUX_TYPES or {"user", "role"} & selinux.keys():
        yield "SELinux"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in GOOD_PROFILES:
        yield "AppArmor"
