"""Who the container is, in crash.json: what only its platform's services know."""

import os
import re
import shutil

import pytest
from aws_services import HANG, EcsMetadata, Imds
from conftest import CRASH

KUBERNETES = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def with_file(folder, path, text):
    """A wrapper that runs a command where this file is, in a mount namespace of its own, in which
    the folder holds nothing else."""
    script = (f"mount -t tmpfs none {folder}; /bin/mkdir -p {os.path.dirname(path)}; "
              f"printf '%s\\n' '{text}' >{path}; exec \"$@\"")
    return ["unshare", "--mount", "sh", "-ec", script, "sh"]


NAMESPACE = ("/run", "/var/run/secrets/kubernetes.io/serviceaccount/namespace")
VENDOR = ("/sys/devices/virtual", "/sys/devices/virtual/dmi/id/sys_vendor")
ASSET_TAG = ("/sys/devices/virtual", "/sys/devices/virtual/dmi/id/board_asset_tag")


@pytest.fixture
def identify(run, without_gdb):
    """Runs a crash; returns what crash.json says of the container.

    @until  members that are to be known: services are asked for a second only, which a busy machine
            may spend elsewhere, so there are several crashes until they are
    """

    def identify(env, wrapper=(), until=()):
        for _ in range(10):
            result, bundle = run.crash("-vvv", "--", CRASH, "segv", wrapper=wrapper,
                                       env={"PATH": without_gdb, **env})
            identify.log = result.stderr
            assert result.returncode == 139
            assert bundle.account["complete"]
            container = bundle.account["container"]
            if all(container[member] is not None for member in until):
                break
            shutil.rmtree(run.cores)
        return container

    return identify


def test_an_ecs_task(identify):
    with EcsMetadata() as ecs:
        container = identify(ecs.env, until=["ecs_cluster", "image"])
    assert container["orchestrator"] == "ecs"
    assert container["ecs_cluster"] == ecs.task["Cluster"]
    assert container["ecs_task_arn"] == ecs.task["TaskARN"]
    assert container["ecs_container_name"] == "fluent-bit"
    assert container["image"] == ecs.container["Image"]
    assert container["image_digest"] == ecs.container["ImageID"]


@pytest.mark.parametrize("faults", [
    [HANG, HANG],
    [(500, b""), (404, b"404 page not found")],
    [(200, b"[1, 2"), (200, b'{"Cluster": {"a": 1}, "TaskARN": 7}')],
    [(200, b"x" * 200000), (200, b'{"Cluster": "' + b"x" * 2000 + b'"}')],
    [(302, b""), (302, b"")],
], ids=["hanging", "refusing", "no JSON", "too long", "redirecting"])
def test_an_ecs_endpoint_that_is_of_no_use_costs_no_more_than_its_facts(identify, faults):
    with EcsMetadata() as ecs:
        ecs.faults = faults
        container = identify(ecs.env)
    assert container["orchestrator"] == "ecs"
    assert container["ecs_cluster"] is container["ecs_task_arn"] is container["image"] is None
    assert not re.search("(warning|error): .*ECS", identify.log)


def test_an_ecs_endpoint_of_which_half_answers(identify):
    with EcsMetadata() as ecs:
        ecs.container = {}
        container = identify(ecs.env, until=["ecs_cluster"])
    assert container["image"] is None
    assert container["ecs_cluster"] == ecs.task["Cluster"]


def test_the_namespace_of_the_service_account(identify):
    container = identify(KUBERNETES, wrapper=with_file(*NAMESPACE, "team-a"))
    assert container["orchestrator"] == "kubernetes"
    assert container["pod_namespace"] == "team-a"


def test_the_downward_values_go_before_the_service_account(identify):
    container = identify({**KUBERNETES, "POD_NAMESPACE": "told"},
                         wrapper=with_file(*NAMESPACE, "team-a"))
    assert container["pod_namespace"] == "told"


def test_a_namespace_that_can_be_none_is_not_told(identify):
    container = identify(KUBERNETES, wrapper=with_file(*NAMESPACE, "../a b"))
    assert container["pod_namespace"] is None


@pytest.mark.parametrize("file", [(*VENDOR, "Amazon EC2"), (*ASSET_TAG, "i-0123456789abcdef0")])
def test_an_ec2_instance(identify, file):
    with Imds() as imds:
        container = identify(imds.env, wrapper=with_file(*file), until=["ec2_instance_id"])
    assert container["ec2_instance_id"] == "i-0123456789abcdef0"
    assert [request.method for request in imds.requests][-2:] == ["PUT", "GET"]


def test_what_the_instances_service_says_must_be_an_id(identify):
    with Imds() as imds:
        imds.values["/instance-id"] = b"<html>no</html>"
        container = identify(imds.env, wrapper=with_file(*VENDOR, "Amazon EC2"))
    assert container["ec2_instance_id"] is None


def test_only_an_ec2_instances_metadata_service_is_asked(identify):
    with Imds() as imds:
        container = identify(imds.env, wrapper=with_file(*VENDOR, "QEMU"))
    assert container["ec2_instance_id"] is None
    assert not imds.requests


def test_a_metadata_service_that_hangs(identify):
    with Imds() as imds:
        imds.faults = [HANG]
        container = identify(imds.env, wrapper=with_file(*VENDOR, "Amazon EC2"))
    assert container["ec2_instance_id"] is None
