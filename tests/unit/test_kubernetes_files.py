"""Manifests of deploy/kubernetes: they fit Kubernetes' schemas, the roles, the options and each other."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from consumers import roles
from millstream.cli.console import ConsoleHttp
from millstream.cli.http import Http
from millstream.cli.http_security import HttpSecurity, listening_address
from millstream.cli.shared_options import byte_count
from millstream.config.instance_id import resolve
from model_store import VersionId
from model_store.object_keys import pin_place
from model_store.signing import make_pair

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "kubernetes"
SCHEMAS: Final = json.loads((ROOT / "tests" / "data" / "kubernetes" / "schemas-1.28.json").read_text())
DOCUMENT: Final = ROOT / "docs" / "kubernetes.md"
NONROOT: Final = 10001
# Forwarder and importer are in the pod of their server.
_WITHOUT_SET: Final = ("forwarder", "importer")

Manifest = dict[str, Any]


def kustomization(folder: Path = FOLDER) -> Manifest:
    found: Manifest = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def manifests() -> list[Manifest]:
    files = [path for path in sorted(FOLDER.rglob("*.yaml")) if path.name != "kustomization.yaml"]
    return [each for path in files for each in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests() if each["kind"] == kind}


def pod_specs() -> dict[str, Manifest]:
    """Return the specification of every pod, by the name of what starts it."""
    found = {}
    for each in manifests():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template is not None:
            found[each["metadata"]["name"]] = template["spec"]
    return found


def container(spec: Manifest) -> Manifest:
    found: Manifest = spec["containers"][0]
    return found


def containers() -> Iterator[tuple[str, Manifest, Manifest]]:
    """Yield the name of what starts each container, its pod's specification, and its own."""
    for name, spec in pod_specs().items():
        for each in spec["containers"]:
            yield name, spec, each


def env_file(name: str, *, with_comments: bool = False) -> dict[str, str]:
    lines = (FOLDER / name).read_text().splitlines()
    if with_comments:  # settings that a comment offers
        lines = [re.sub(r"^# (?=[A-Z_]+=)", "", line) for line in lines]
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def validate(manifest: Manifest) -> None:
    """Raise ValidationError unless the manifest is what Kubernetes takes; unknown fields are refused."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    group = version.split("/")[0].removesuffix(".k8s.io") if "/" in version else "core"
    name = f"io.k8s.api.{group}.v1.{kind}"
    assert name in SCHEMAS["$defs"], f"no schema for {version} {kind}"
    jsonschema.Draft202012Validator({**SCHEMAS, "$ref": f"#/$defs/{name}"}).validate(manifest)


@pytest.mark.parametrize("manifest", [pytest.param(m, id=f"{m['kind']}-{m['metadata']['name']}") for m in manifests()])
def test_a_manifest_fits_the_schema_of_kubernetes(manifest: Manifest) -> None:
    validate(manifest)


def test_the_schemas_find_a_misspelled_field_and_a_wrong_type() -> None:
    for path, value in (("replica", 1), ("replicas", "one")):
        manifest = of_kind("StatefulSet")["learner"]
        manifest["spec"][path] = value
        with pytest.raises(jsonschema.ValidationError):
            validate(manifest)


def test_every_role_has_a_stateful_set_with_its_command_and_its_disruption_budget() -> None:
    sets, budgets = of_kind("StatefulSet"), of_kind("PodDisruptionBudget")
    assert {*sets} == {*budgets} == {role.name for role in roles.TABLE if role.name not in _WITHOUT_SET}
    for name, each in sets.items():
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert container(each["spec"]["template"]["spec"])["args"] == [name]
        assert each["spec"]["selector"]["matchLabels"] == labels
        assert budgets[name]["spec"]["selector"]["matchLabels"] == labels
        assert each["spec"]["serviceName"] in of_kind("Service")


def test_what_kustomize_takes_by_default_is_every_file_but_those_of_optional_roles() -> None:
    taken = {*kustomization()["resources"]}
    assert {path.name for path in FOLDER.glob("*.yaml")} - taken == {
        "kustomization.yaml",
        "ingress.yaml",
        *(f"{role.name}.yaml" for role in roles.TABLE if role.optional and role.name not in _WITHOUT_SET),
    }
    assert {name for generated in kustomization()["configMapGenerator"] for name in generated.get("files", [])} == {
        env_file("settings.env")["MILLSTREAM_STREAM"]
    }


def test_the_pods_number_is_the_instance() -> None:
    for name in of_kind("StatefulSet"):
        assert resolve(name, None, Path("/unused"), hostname=f"{name}-12") == "12"


def test_probes_and_services_use_the_port_of_the_metrics() -> None:
    settings = env_file("settings.env")
    port = int(settings["MILLSTREAM_METRICS_PORT"])
    assert settings["MILLSTREAM_METRICS_HOST"] == "0.0.0.0"  # noqa: S104 - of a pod
    service = of_kind("Service")["millstream"]
    ports = [(each["port"], each["targetPort"]) for each in service["spec"]["ports"]]
    assert ports == [(port, "metrics"), (port + 1, "metrics-fwd"), (port + 2, "metrics-imp")]
    for each in of_kind("StatefulSet").values():
        role = container(each["spec"]["template"]["spec"])
        assert role["ports"][0] == {"name": "metrics", "containerPort": port}
        probes = {kind: role[kind]["httpGet"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {kind: (get["path"], get["port"]) for kind, get in probes.items()} == {
            "startupProbe": ("/livez", "metrics"),
            "livenessProbe": ("/livez", "metrics"),
            "readinessProbe": ("/readyz", "metrics"),
        }
        assert service["spec"]["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()


def test_a_server_its_forwarder_and_its_importer_share_a_pod_and_the_state_and_end_in_order() -> None:
    spec = pod_specs()["server"]
    server, forwarder, importer = spec["containers"]
    assert [each["args"] for each in spec["containers"]] == [["server"], ["forwarder"], ["importer"]]
    [state] = [each for each in server["volumeMounts"] if each["name"] == "state"]
    ports = [each for container in spec["containers"] for each in container["ports"]]
    assert len({each["name"] for each in ports}) == len({each["containerPort"] for each in ports}) == len(ports)
    for beside, name in ((forwarder, "metrics-fwd"), (importer, "metrics-imp")):
        assert state in beside["volumeMounts"]
        variables = {each["name"]: each["value"] for each in beside["env"]}
        assert {"name": name, "containerPort": int(variables["MILLSTREAM_METRICS_PORT"])} in ports
    [_, waits] = forwarder["lifecycle"]["preStop"]["exec"]["command"]
    drain = int({each["name"]: each["value"] for each in server["env"]}["MILLSTREAM_DRAIN"].removesuffix("s"))
    assert drain + 15 <= int(waits) <= spec["terminationGracePeriodSeconds"] - 10


@pytest.mark.parametrize("name", ["server", "console", "uploads"])
def test_a_service_of_callers_leads_to_the_port_of_its_role_under_a_name_that_the_role_takes(name: str) -> None:
    service = of_kind("Service")[name]["spec"]
    role = {"uploads": "server"}.get(name, name)
    spec = pod_specs()[role]
    [http] = service["ports"]
    assert {"name": http["targetPort"], "containerPort": http["port"]} in container(spec)["ports"]
    assert http["port"] == {"server": Http.port, "console": ConsoleHttp.port}[role]
    assert service["selector"] == of_kind("StatefulSet")[role]["spec"]["selector"]["matchLabels"]
    variables = {each["name"]: each["value"] for each in container(spec)["env"]}
    _, is_public = listening_address(variables["MILLSTREAM_HOST"])
    taken = HttpSecurity(allowed_host=tuple(variables["MILLSTREAM_ALLOWED_HOST"].split())).hosts("0.0.0.0")  # noqa: S104
    assert is_public
    assert {name, f"{name}.millstream.svc"} <= taken
    assert {
        rule["host"]
        for ingress in of_kind("Ingress").values()
        for rule in ingress["spec"]["rules"]
        if rule["http"]["paths"][0]["backend"]["service"]["name"] == name
    } <= taken


def test_an_ingress_leads_to_a_service_over_https_and_uploads_stay_with_one_pod() -> None:
    for name, each in of_kind("Ingress").items():
        [rule] = each["spec"]["rules"]
        [path] = rule["http"]["paths"]
        assert path["backend"]["service"] == {"name": name, "port": {"name": "http"}}
        assert name in of_kind("Service")
        assert [rule["host"]] == each["spec"]["tls"][0]["hosts"]
        assert f"secret tls {each['spec']['tls'][0]['secretName']} " in DOCUMENT.read_text()
    assert of_kind("Service")["uploads"]["spec"]["sessionAffinity"] == "ClientIP"
    annotations = of_kind("Ingress")["uploads"]["metadata"]["annotations"]
    assert "nginx.ingress.kubernetes.io/upstream-hash-by" in annotations
    largest = byte_count("--largest-upload", Http.largest_upload)
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == f"{largest >> 30}g"


def test_what_decides_about_versions_may_mark_them_in_the_bucket() -> None:
    rows = re.findall(r"^\| (.*?) \| (.*?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    [decides] = [needs for who, needs in rows if who == "`operator`, `console`"]
    kind = pin_place(VersionId("fraud", 1, 0)).rpartition("/")[0]
    assert f"write and delete `{kind}/*`" in decides


def _variables() -> Iterator[str]:
    for file in ("settings.env", "learner.env"):
        yield from env_file(file, with_comments=True)
    for _, _, each in containers():
        yield from (variable["name"] for variable in each.get("env", []))
    yield from re.findall(r"\bMILLSTREAM_\w+", DOCUMENT.read_text())


def test_every_variable_is_an_option() -> None:
    reference = (ROOT / "docs" / "reference" / "environment.md").read_text()
    known = {*re.findall(r"`(MILLSTREAM_[A-Z_]+)`", reference)}
    for name in {name for name in _variables() if name.startswith("MILLSTREAM_")}:
        assert name in known or name.startswith("MILLSTREAM_KAFKA_"), f"{name} is no option"


def test_every_pod_is_as_narrow_as_the_restricted_pod_security_standard() -> None:
    for name, spec, each in containers():
        shut, pod = each["securityContext"], spec["securityContext"]
        assert shut == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert pod["runAsNonRoot"], name
        assert pod["runAsUser"] == pod["fsGroup"] == NONROOT, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False), name
        assert {"requests", "limits"} == {*each["resources"]}, name


def _secrets(spec: Manifest) -> set[str]:
    mounted = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    return mounted | {
        each["secretRef"]["name"] for own in spec["containers"] for each in own["envFrom"] if "secretRef" in each
    }


def test_a_role_has_a_secret_of_its_own_and_only_those_that_write_versions_have_the_signing_key() -> None:
    held = {name: _secrets(spec) for name, spec in pod_specs().items()}
    assert [name for name, secrets in held.items() if "signing-key" in secrets] == ["learner", "trainer"]
    for role in (role.name for role in roles.TABLE if not role.on_demand):
        assert held[role] - {"kafka-ca", "trusted-keys", "signing-key"} == {role}
    assert held["server"] - {"kafka-ca", "trusted-keys", "http-tokens"} == {"server", "forwarder", "importer"}
    assert held["console"] - {"kafka-ca", "trusted-keys", "http-tokens"} == {"console"}
    for name in {name for secrets in held.values() for name in secrets}:
        assert f"secret generic {name} " in DOCUMENT.read_text(), f"the document does not create {name}"


def test_mounts_name_volumes_and_only_the_state_of_joiners_judges_and_servers_outlives_a_pod() -> None:
    for name, spec in pod_specs().items():
        claimed = [each["metadata"]["name"] for each in of_kind("StatefulSet").get(name, {"spec": {}})["spec"]
                   .get("volumeClaimTemplates", [])]  # fmt: skip
        named = [volume["name"] for volume in spec["volumes"]] + claimed
        assert sorted(mount["name"] for mount in container(spec)["volumeMounts"]) == sorted(named), name
        assert {mount["name"] for each in spec["containers"] for mount in each["volumeMounts"]} == {*named}
        assert claimed == (["state"] if name in ("joiner", "judge", "server") else [])
        made = {each["name"] for each in kustomization()["configMapGenerator"]}
        asked = {each["configMap"]["name"] for each in spec["volumes"] if "configMap" in each}
        asked |= {each["configMapRef"]["name"] for each in container(spec)["envFrom"] if "configMapRef" in each}
        assert asked <= made, name


def _built(folder: Path) -> dict[tuple[str, str], Manifest]:
    tool = shutil.which("kubectl") or shutil.which("kustomize")
    if tool is None:
        pytest.skip("neither kubectl nor kustomize is here")
    done = subprocess.run(
        [tool, "kustomize" if Path(tool).name == "kubectl" else "build", str(folder)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    built = [each for each in yaml.safe_load_all(done.stdout) if each]
    for each in built:
        validate(each)
    return {(each["kind"], each["metadata"]["name"]): each for each in built}


def test_kustomize_builds_them_and_a_changed_stream_file_is_a_changed_pod(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "kubernetes"))
    before = _built(folder)
    (folder / "fraud.py").write_text((folder / "fraud.py").read_text() + "# changed\n")
    after = _built(folder)
    for role in (role.name for role in roles.TABLE if not role.optional):
        one, other = before["StatefulSet", role], after["StatefulSet", role]
        assert one["spec"]["template"] != other["spec"]["template"], role
        image = container(one["spec"]["template"]["spec"])["image"]
        assert image == f"{kustomization()['images'][0]['newName']}:{kustomization()['images'][0]['newTag']}"


def test_on_a_shared_volume_only_those_write_versions_who_make_or_mark_them(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "kubernetes"))
    text = (folder / "kustomization.yaml").read_text()
    (folder / "kustomization.yaml").write_text(re.sub(r"^( *)# (?=components:|- \w+\.yaml)", r"\1", text, flags=re.M))
    built = _built(folder)
    write = set()
    for (kind, name), each in built.items():
        spec = each.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        for mount in container(template["spec"])["volumeMounts"] if template else ():
            if mount["name"] == "versions" and mount["subPath"] == "versions" and not mount.get("readOnly"):
                write.add((kind, name))
    assert write == {
        ("StatefulSet", "learner"),
        *(("Deployment", "operator"), ("StatefulSet", "console")),
        *(("CronJob", "backup"), ("CronJob", "admin")),
    }
    assert {name for kind, name in built if kind == "StatefulSet"} == {*of_kind("StatefulSet")}
    [settings] = [each for (kind, name), each in built.items() if kind == "ConfigMap" and name.startswith("settings")]
    assert settings["data"]["MILLSTREAM_STORE"] == "/var/lib/millstream/models"


def _config_map_volume(folder: Path, revision: str) -> Path:
    """Lay the stream file out as the kubelet does: behind a link to a folder that has a new name at each change."""
    content = folder / f"..{revision}"
    content.mkdir(parents=True)
    shutil.copy(FOLDER / "fraud.py", content)
    (folder / "..data").symlink_to(content.name)
    (folder / "fraud.py").symlink_to("..data/fraud.py")
    return folder / "fraud.py"


def test_a_stream_file_of_a_config_map_loads_and_defines_the_same_model_in_every_pod(tmp_path: Path) -> None:
    says = "import sys; from millstream.stream.load import load_stream; print(load_stream(sys.argv[1]).definition)"
    found = set()
    for revision in ("2026_11_29", "2026_11_30"):
        file = _config_map_volume(tmp_path / revision, revision)
        done = subprocess.run([sys.executable, "-c", says, str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


_READS: Final = """
import os, sys
from pathlib import Path
from model_store.signing import open_signer
os.setgid(10001); os.setuid(10001)
print(open_signer(Path(sys.argv[1])).key_id)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root's")
@pytest.mark.parametrize(("mode", "read"), [(0o440, True), (0o444, False), (0o460, False)])
def test_the_signing_key_may_be_a_secret_that_the_pods_group_reads(mode: int, read: bool) -> None:
    with tempfile.TemporaryDirectory() as temporary:  # pytest's own folder is closed to others
        keys = Path(temporary)
        make_pair(keys, keys / "signing.pem")
        keys.chmod(0o755)
        os.chown(keys / "signing.pem", 0, NONROOT)
        (keys / "signing.pem").chmod(mode)
        done = subprocess.run([sys.executable, "-c", _READS, temporary], capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == read, done.stderr
    assert read or "can be read by others" in done.stderr
