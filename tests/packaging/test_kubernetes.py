"""The manifests for Kubernetes: they are valid, and fit each other, the image and the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from engine.serving.auth import ApiKeys
from engine.settings import ENV_PREFIX, ServeSettings
from tests.edge.servers import served

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "packaging" / "kubernetes"
FILES = sorted(FOLDER.glob("*.yaml"))
DOCKERFILE = (ROOT / "packaging" / "docker" / "cpu.Dockerfile").read_text(encoding="utf-8")
VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest that has all that is used, and the newest that the validator knows."""
STEP_SECONDS = 10
"""What an end may take besides the grace, as docs/reliability.md has it, and a step of a slow model."""

Manifest = dict[str, Any]


def manifest_of(kind: str) -> Manifest:
    (found,) = (loaded for file in FILES if (loaded := yaml.safe_load(file.read_text()))["kind"] == kind)
    manifest: Manifest = found
    return manifest


POD: Manifest = manifest_of("Deployment")["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
SETTINGS: Mapping[str, str] = manifest_of("ConfigMap")["data"]
PROBES = {kind: CONTAINER[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_manifest_is_valid(file: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(file.read_text()), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_gateway_is_valid_and_finds_the_servers(version: str) -> None:
    manifests = list(yaml.safe_load_all((FOLDER / "smg" / "smg.yaml").read_text()))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    key, _, value = arguments[arguments.index("--selector") + 1].partition("=")
    assert POD["metadata"]["labels"][key] == value
    (port,) = (port["containerPort"] for port in CONTAINER["ports"] if port["name"] == "http")
    assert f"--service-discovery-port={port}" in arguments
    assert f"--health-check-endpoint={PROBES['readiness']['httpGet']['path']}" in arguments


def test_the_validator_would_notice() -> None:
    wrong = manifest_of("Deployment")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_settings_are_what_the_server_takes() -> None:
    given = {name.removeprefix(ENV_PREFIX).lower(): value for name, value in SETTINGS.items()}
    settings = ServeSettings.model_validate(given)
    assert set(given) == settings.model_fields_set
    with pytest.raises(ValidationError):
        ServeSettings.model_validate({**given, "shutdown_grace": "-1"})


def test_the_time_for_the_end_is_enough() -> None:
    pre_stop = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = float(SETTINGS["NUCLEUS_SHUTDOWN_GRACE"])
    assert POD["spec"]["terminationGracePeriodSeconds"] >= pre_stop + grace + STEP_SECONDS
    ready = PROBES["readiness"]
    assert pre_stop >= ready["periodSeconds"], "or proxies that ask by themselves have not asked yet"


async def test_probes_ask_what_there_is_and_need_no_key() -> None:
    async with served(keys=ApiKeys(["sk-1"])) as server:
        paths = {kind: probe["httpGet"]["path"] for kind, probe in PROBES.items()}
        statuses = {kind: (await server.client.get(path)).status_code for kind, path in paths.items()}
        assert statuses == {"startup": 200, "liveness": 200, "readiness": 200}
        server.service.drain()
        statuses = {kind: (await server.client.get(path)).status_code for kind, path in paths.items()}
        assert statuses == {"startup": 503, "liveness": 200, "readiness": 503}


def test_ports_and_labels_fit_each_other() -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": 8000, "grpc": 50051}
    assert {probe["httpGet"]["port"] for probe in PROBES.values()} == {"http"}
    service = manifest_of("Service")["spec"]
    assert {port["targetPort"] for port in service["ports"]} == set(ports)
    labels = POD["metadata"]["labels"]
    deployment = manifest_of("Deployment")["spec"]
    for selector in (
        service["selector"],
        deployment["selector"]["matchLabels"],
        manifest_of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        POD["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()


def test_it_runs_as_the_image_has_it_and_can_write_nothing_else() -> None:
    user, group = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)[0]
    security = POD["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))
    mounts = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert {volume["name"] for volume in POD["spec"]["volumes"]} == set(mounts.values())
    assert re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)[0] in mounts
    assert str(Path(SETTINGS["NUCLEUS_API_KEY_FILE"]).parent) in mounts
    contained = CONTAINER["securityContext"]
    assert contained["readOnlyRootFilesystem"]
    assert not contained["allowPrivilegeEscalation"]
    assert security["runAsNonRoot"]


def test_a_server_is_always_left() -> None:
    deployment = manifest_of("Deployment")["spec"]
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert manifest_of("PodDisruptionBudget")["spec"]["maxUnavailable"] < deployment["replicas"]
