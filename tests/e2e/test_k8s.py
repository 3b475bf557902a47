"""The Kubernetes manifests, held against the API's own schemas (k8s_validate.js)."""

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).resolve().parents[1]
MANIFESTS = TESTS.parent / "k8s"
COMMON, HOSTPATH, S3, ATTACH = (
    MANIFESTS / name
    for name in (
        "common.yaml", "fluent-bit-hostpath.yaml", "fluent-bit-s3.yaml", "sidecar-attach.yaml",
    )
)


def load(path):
    return list(yaml.safe_load_all(path.read_text()))


def complaints(objects):
    if not (TESTS / "node_modules" / "kubernetes-models").is_dir() or not shutil.which("node"):
        reason = "node or the npm package kubernetes-models is missing (npm ci in tests/)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    script = Path(__file__).with_name("k8s_validate.js")
    run = subprocess.run(
        ["node", script], input=json.dumps(objects), capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


@pytest.fixture(params=[HOSTPATH, S3], ids=lambda path: path.stem)
def deployment(request):
    (manifest,) = load(request.param)
    return manifest


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def sidecar(deployment, name="fluent-bit"):
    return next(c for c in pod(deployment)["containers"] if c["name"] == name)


def volume_at(deployment, path, name="fluent-bit"):
    mount = next(m for m in sidecar(deployment, name)["volumeMounts"] if m["mountPath"] == path)
    assert not mount.get("readOnly")
    return next(v for v in pod(deployment)["volumes"] if v["name"] == mount["name"])


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_takes_the_manifest(path):
    assert complaints(load(path)) == []


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda d: sidecar(d).update(workdir="/"), "containers/1/workdir is unknown"),
        (lambda d: pod(d)["volumes"][-1]["hostPath"].update(types="x"), "types is unknown"),
        (lambda d: pod(d).update(terminationGracePeriodSeconds="120"), "breaks type"),
        (lambda d: sidecar(d).pop("name"), 'breaks required {"missingProperty":"name"}'),
    ],
    ids=["unknown key", "unknown inner key", "wrong type", "missing key"],
)
def test_the_check_itself_finds_mistakes(spoil, complaint):
    (spoiled,) = copy.deepcopy(load(HOSTPATH))
    spoil(spoiled)
    assert any(complaint in found for found in complaints([spoiled]))


@pytest.fixture(params=[HOSTPATH, S3, ATTACH], ids=lambda path: path.stem)
def any_deployment(request):
    (manifest,) = load(request.param)
    return manifest


def test_the_selector_selects_the_pods(any_deployment):
    deployment = any_deployment
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_every_reference_is_answered(any_deployment):
    deployment = any_deployment
    volumes = {v["name"] for v in pod(deployment)["volumes"]}
    for container in pod(deployment)["containers"]:
        assert {m["name"] for m in container["volumeMounts"]} <= volumes
    common = {(o["kind"], o["metadata"]["name"]): o for o in load(COMMON)}
    assert ("ServiceAccount", pod(deployment)["serviceAccountName"]) in common
    config = volume_at(deployment, "/fluent-bit/etc/fluent-bit.conf")["configMap"]["name"]
    assert "fluent-bit.conf" in common["ConfigMap", config]["data"]


def test_the_service_account_is_bound_to_a_role():
    account = next(o for o in load(COMMON) if o["kind"] == "ServiceAccount")
    role = account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role.startswith("arn:aws:iam::")


def test_the_sidecar_dumps_into_cores_and_sends_to_s3(deployment):
    container = sidecar(deployment)
    assert "emptyDir" in volume_at(deployment, container["workingDir"]), "no pod shares it"
    assert volume_at(deployment, "/cores")
    environment = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    assert environment["S3_BUCKET"]
    assert environment["S3_KEY_PREFIX"] not in ("", "issue")
    assert environment["AWS_REGION"]


def test_coreinit_takes_the_settings(run, any_deployment):
    (container,) = [c for c in pod(any_deployment)["containers"] if "env" in c]
    environment = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    told = run("--explain", "true", env=environment)
    assert told.returncode == 0, told.stderr
    grace = pod(any_deployment)["terminationGracePeriodSeconds"]
    assert f"stop_timeout: {grace}\n" in told.stdout


def test_bundles_outlive_the_pod_on_the_node():
    (deployment,) = load(HOSTPATH)
    assert volume_at(deployment, "/cores")["hostPath"]["type"] == "DirectoryOrCreate"


def test_s3_only_takes_nothing_of_the_node():
    (deployment,) = load(S3)
    assert not any("hostPath" in v for v in pod(deployment)["volumes"])
    assert pod(deployment)["securityContext"]["runAsNonRoot"] is True
    security = sidecar(deployment)["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_a_sidecar_sees_the_process_that_it_attaches_to():
    (deployment,) = load(ATTACH)
    assert pod(deployment)["shareProcessNamespace"] is True
    container = sidecar(deployment, "coreinit")
    assert container["command"] == ["/opt/coreinit/bin/corectl", "attach", "--name", "fluent-bit"]
    assert "SYS_PTRACE" in container["securityContext"]["capabilities"]["add"]
    assert "emptyDir" in volume_at(deployment, "/cores", "coreinit")
    environment = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    assert environment["S3_BUCKET"] and environment["AWS_REGION"]
    assert "coreinit" not in sidecar(deployment)["image"], "the application's image is untouched"
