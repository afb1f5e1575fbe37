"""Kubernetes' manifests: read and write them, validate them strictly, and find what breaks the rules of the house."""

import re
from pathlib import Path

import jsonschema
import kubernetes_validate
from kubernetes_validate.utils import all_versions
from ruamel.yaml import YAML

VERSIONS = list(dict.fromkeys(all_versions()))[-4:]
NOTHING_ELSE = {"additionalProperties": False}
WORD = {"type": "string", "minLength": 1}
REFERENCE = {"type": "object", "required": ["name", "key"], "properties": {"name": WORD, "key": WORD}} | NOTHING_ELSE
OTHERS = {  # the kinds that Kubernetes has no schema for: their spec, with the fields that are used here
    "Route": {
        "required": ["to", "port", "tls"],
        "properties": {
            "host": WORD,
            "to": {"properties": {"kind": {"const": "Service"}, "name": WORD}} | NOTHING_ELSE,
            "port": {"required": ["targetPort"], "properties": {"targetPort": WORD}} | NOTHING_ELSE,
            "tls": {
                "required": ["termination"],
                "properties": {
                    "termination": {"enum": ["edge", "passthrough", "reencrypt"]},
                    "insecureEdgeTerminationPolicy": {"enum": ["None", "Allow", "Redirect"]},
                },
            }
            | NOTHING_ELSE,
        },
    },
    "PodMonitor": {
        "required": ["selector", "podMetricsEndpoints"],
        "properties": {
            "selector": {"required": ["matchLabels"]},
            "podMetricsEndpoints": {
                "items": {
                    "required": ["port", "path"],
                    "properties": {
                        "port": WORD,
                        "path": WORD,
                        "authorization": {"properties": {"credentials": REFERENCE}} | NOTHING_ELSE,
                        "relabelings": {
                            "items": {"properties": {"targetLabel": WORD, "replacement": WORD}} | NOTHING_ELSE
                        },
                    },
                }
                | NOTHING_ELSE
            },
        },
    },
}


def load(text: str) -> list[dict]:
    """Read the objects of a manifest."""
    return list(YAML(typ="safe").load_all(text))


def dump(documents: list[dict], path: Path) -> Path:
    """Write objects as a manifest; gives its path."""
    with path.open("w", encoding="utf-8") as file:
        YAML().dump_all(documents, file)
    return path


def one(documents: list[dict], kind: str, name: str = "") -> dict:
    """Give the only object of a kind, or that of a name."""
    (found,) = (each for each in documents if each["kind"] == kind and name in (each["metadata"]["name"], ""))
    return found


def complaints(documents: list[dict], version: str) -> list[str]:
    """Validate strictly against a version of Kubernetes; the kinds that it does not know, against our own schemas."""
    found = []
    for document in documents:
        try:
            if document["kind"] in OTHERS:
                spec = {"properties": {"spec": OTHERS[document["kind"]] | NOTHING_ELSE}, "required": ["spec"]}
                jsonschema.validate(document, spec)
            else:
                kubernetes_validate.validate(document, version, strict=True)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            found.append(f"{document['kind']}: {error.message}")
    return found


def templates(documents: list[dict]) -> dict[str, dict]:
    """Give the pod template of everything that runs pods, by its kind and name."""
    found = {}
    for document in documents:
        spec = document.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            found[f"{document['kind']}/{document['metadata']['name']}"] = spec["template"]
    return found


def faults(documents: list[dict]) -> list[str]:
    """Say what breaks the rules of the house, which are the restricted Pod Security Standard and some more."""
    found = []
    for where, template in templates(documents).items():
        pod = template["spec"]
        own = pod.get("securityContext", {})
        rules = {
            "may run as root": own.get("runAsNonRoot") is not True,
            "has no seccomp profile": own.get("seccompProfile", {}).get("type") != "RuntimeDefault",
            "names a user or a group, which OpenShift refuses": bool(
                {"runAsUser", "runAsGroup", "fsGroup"} & own.keys()
            ),
            "holds a token of the cluster": pod.get("automountServiceAccountToken") is not False,
            "gets addresses as variables": pod.get("enableServiceLinks") is not False,
            "shares the host": any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
            "mounts the host": any("hostPath" in volume for volume in pod["volumes"]),
        }
        for container in pod["containers"] + pod.get("initContainers", []):
            own, limits = container.get("securityContext", {}), container.get("resources", {})
            rules |= {
                "may gain privileges": own.get("allowPrivilegeEscalation") is not False,
                "is privileged": bool(own.get("privileged")),
                "keeps capabilities": own.get("capabilities") != {"drop": ["ALL"]},
                "writes to its root": own.get("readOnlyRootFilesystem") is not True,
                "has no limits": not {"cpu", "memory"} <= limits.get("limits", {}).keys(),
                "has no requests": not {"cpu", "memory"} <= limits.get("requests", {}).keys(),
                "has no image by digest": not re.search(r"@sha256:[0-9a-f]{64}$", container["image"]),
                "has no probes": where.startswith("Deployment")
                and not {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(),
                "has a secret in clear text": any(
                    re.search("PASSWORD|TOKEN|SECRET|KEY$|_URL$", entry["name"]) and "value" in entry
                    for entry in container.get("env", [])
                ),
            }
        found += [f"{where} {rule}" for rule, broken in rules.items() if broken]
    for document in documents:
        if document["kind"] == "Secret":
            found.append(f"Secret/{document['metadata']['name']} is a secret in clear text")
        if document["kind"] == "ServiceAccount" and document.get("automountServiceAccountToken") is not False:
            found.append("ServiceAccount holds a token of the cluster")
        for value in document.get("data", {}).values():
            if re.search(r"://[^/\s]+:[^/\s]+@", value):
                found.append(f"ConfigMap/{document['metadata']['name']} has a secret in clear text")
    return found
