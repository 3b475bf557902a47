"""The ECS task definitions, held against RegisterTaskDefinition's request model in botocore."""

import copy
import json
from pathlib import Path

import botocore.session
import pytest
from botocore.validate import ParamValidator

TASK_DEFS = Path(__file__).resolve().parents[2] / "task-defs"
EC2 = TASK_DEFS / "ecs-ec2.json"
FARGATE = TASK_DEFS / "ecs-fargate.json"
ATTACH = TASK_DEFS / "ecs-fargate-attach.json"

# What Fargate refuses, from "Amazon ECS task definition differences for Fargate".
REFUSED_BY_FARGATE = {
    "disableNetworking",
    "dnsSearchDomains",
    "dnsServers",
    "dockerSecurityOptions",
    "dockerVolumeConfiguration",
    "extraHosts",
    "host",
    "hostname",
    "ipcMode",
    "links",
    "placementConstraints",
    "privileged",
    "devices",
    "maxSwap",
    "swappiness",
    "sharedMemorySize",
    "tmpfs",
}

# Memory in MiB that Fargate offers for so many CPU units.
FARGATE_MEMORY = {
    "256": (512, 1024, 2048),
    "512": range(1024, 4096 + 1, 1024),
    "1024": range(2048, 8192 + 1, 1024),
}


def load(path):
    return json.loads(path.read_text())


@pytest.fixture(params=[EC2, FARGATE], ids=lambda path: path.stem)
def task_def(request):
    return load(request.param)


@pytest.fixture(scope="module")
def request_shape():
    service = botocore.session.get_session().get_service_model("ecs")
    return service.operation_model("RegisterTaskDefinition").input_shape


def wrong_enums(shape, value, at=""):
    """botocore checks structure and types; the values of enumerations it leaves to the server."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in value:
                yield from wrong_enums(member, value[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from wrong_enums(shape.member, item, f"{at}[{index}]")
    elif shape.type_name == "string" and shape.enum and value not in shape.enum:
        yield f"{at} is {value!r}, not one of {shape.enum}"


def complaints(task_def, shape):
    report = ParamValidator().validate(task_def, shape)
    if report.has_errors():
        return report.generate_report()
    return "\n".join(wrong_enums(shape, task_def))


def all_keys(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from all_keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from all_keys(inner)


def router(task_def):
    routers = [c for c in task_def["containerDefinitions"] if "firelensConfiguration" in c]
    assert len(routers) == 1, "FireLens takes one log router a task"
    return routers[0]


def cores_volume(task_def):
    mount = next(m for m in router(task_def)["mountPoints"] if m["containerPath"] == "/cores")
    assert not mount.get("readOnly")
    return next(v for v in task_def["volumes"] if v["name"] == mount["sourceVolume"])


@pytest.mark.parametrize("path", sorted(TASK_DEFS.glob("*.json")), ids=lambda path: path.stem)
def test_the_api_takes_the_definition(path, request_shape):
    assert complaints(load(path), request_shape) == ""


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda d: d.update(taskRole="x"), 'Unknown parameter in input: "taskRole"'),
        (
            lambda d: router(d)["linuxParameters"].update(initProcess=True),
            'Unknown parameter in containerDefinitions[0].linuxParameters: "initProcess"',
        ),
        (lambda d: router(d).update(stopTimeout="120"), "Invalid type"),
        (lambda d: d.pop("family"), "Missing required parameter"),
        (lambda d: router(d)["ulimits"][0].update(name="cores"), "is 'cores', not one of"),
    ],
    ids=["unknown key", "unknown inner key", "wrong type", "missing key", "wrong enum"],
)
def test_the_check_itself_finds_mistakes(spoil, complaint, request_shape):
    spoiled = copy.deepcopy(load(EC2))
    spoil(spoiled)
    assert complaint in complaints(spoiled, request_shape)


def test_the_log_router_can_dump_and_be_debugged(task_def):
    container = router(task_def)
    assert container["firelensConfiguration"]["type"] == "fluentbit"
    assert {"name": "core", "softLimit": -1, "hardLimit": -1} in container["ulimits"]
    assert "SYS_PTRACE" in container["linuxParameters"]["capabilities"]["add"]
    assert container["linuxParameters"]["initProcessEnabled"] is True
    # A relative core_pattern puts the core into the working directory: one that no task shares.
    (work,) = [m for m in container["mountPoints"] if m["containerPath"] == "/work"]
    assert container["workingDirectory"] == "/work"
    assert {"name": work["sourceVolume"]} in task_def["volumes"]
    # ECS waits at most two minutes on Fargate.
    assert 30 < container["stopTimeout"] <= 120


def test_bundles_have_somewhere_to_go(task_def):
    container = router(task_def)
    check_destination(container)
    assert cores_volume(task_def)
    assert task_def["taskRoleArn"] != task_def["executionRoleArn"]


def check_destination(container):
    environment = {e["name"]: e["value"] for e in container["environment"]}
    assert environment["S3_BUCKET"]
    assert environment["S3_KEY_PREFIX"] not in ("", "issue")
    assert environment["AWS_REGION"]


@pytest.mark.parametrize("path", sorted(TASK_DEFS.glob("*.json")), ids=lambda path: path.stem)
def test_coreinit_takes_the_settings(run, path):
    (container,) = [c for c in load(path)["containerDefinitions"] if "environment" in c]
    environment = {e["name"]: e["value"] for e in container["environment"]}
    told = run("--explain", "true", env=environment)
    assert told.returncode == 0, told.stderr
    assert f"stop_timeout: {container['stopTimeout']}\n" in told.stdout


def test_the_router_does_not_log_through_itself(task_def):
    assert router(task_def)["logConfiguration"]["logDriver"] != "awsfirelens"
    others = [c for c in task_def["containerDefinitions"] if c is not router(task_def)]
    assert others
    for container in others:
        assert container["logConfiguration"]["logDriver"] == "awsfirelens"


def test_on_ec2_cores_is_a_host_path():
    task_def = load(EC2)
    assert task_def["requiresCompatibilities"] == ["EC2"]
    assert cores_volume(task_def)["host"]["sourcePath"].startswith("/")


def test_on_fargate_cores_is_efs():
    task_def = load(FARGATE)
    efs = cores_volume(task_def)["efsVolumeConfiguration"]
    assert efs["fileSystemId"].startswith("fs-")
    # With an access point the path is the access point's, and the transport must be encrypted.
    assert efs["authorizationConfig"]["accessPointId"].startswith("fsap-")
    assert efs["transitEncryption"] == "ENABLED"
    assert efs.get("rootDirectory", "/") == "/"


@pytest.mark.parametrize("path", [FARGATE, ATTACH], ids=lambda path: path.stem)
def test_fargate_takes_the_definition(path):
    task_def = load(path)
    assert task_def["requiresCompatibilities"] == ["FARGATE"]
    assert task_def["networkMode"] == "awsvpc"
    assert int(task_def["memory"]) in FARGATE_MEMORY[task_def["cpu"]]
    assert not REFUSED_BY_FARGATE.intersection(all_keys(task_def))
    # The only capability that can be added there.
    added = [
        container["linuxParameters"]["capabilities"]["add"]
        for container in task_def["containerDefinitions"]
        if "linuxParameters" in container
    ]
    assert added == [["SYS_PTRACE"]]


def test_a_sidecar_sees_the_process_that_it_attaches_to():
    task_def = load(ATTACH)
    assert task_def["pidMode"] == "task"
    (sidecar,) = [c for c in task_def["containerDefinitions"] if c["name"] == "coreinit"]
    assert [*sidecar["entryPoint"], *sidecar["command"]] == [
        "/opt/coreinit/bin/corectl", "attach", "--name", "fluent-bit"]
    assert sidecar["essential"] is False, "its end is no reason to stop the task"
    check_destination(sidecar)
    (mount,) = sidecar["mountPoints"]
    assert mount["containerPath"] == "/cores"
    assert {"name": mount["sourceVolume"]} in task_def["volumes"]
    assert "coreinit" not in router(task_def)["image"], "the application's image is untouched"
