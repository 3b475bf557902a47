"""A crash's bundle in S3: the same five objects, byte for byte, through a real server."""

import json
import signal
import socket
import subprocess
import time

import pytest

from bundle import SUFFIXES, whole_bundle
from conftest import COREINIT, CRASH
from s3_server import S3rver, StrictS3


@pytest.fixture
def s3(tmp_path):
    with S3rver(tmp_path / "s3") as server:
        yield server


def objects(s3, prefix):
    listing = s3.client.list_objects_v2(Bucket=s3.bucket, Prefix=prefix).get("Contents", [])
    return {o["Key"][len(prefix):]: s3.client.get_object(Bucket=s3.bucket, Key=o["Key"])["Body"].read()
            for o in listing}


@pytest.mark.parametrize("prefix", ["team-a/fluent-bit", "issue", "a b/c+d/größe", "x"])
def test_the_same_five_objects_are_in_the_bucket(run, without_gdb, s3, prefix):
    result, bundle = run.crash("--", CRASH, "segv",
                               env={**s3.env, "S3_BUCKET": s3.bucket, "S3_KEY_PREFIX": prefix,
                                    "PATH": without_gdb})
    assert result.returncode == 139
    assert bundle.id.startswith(prefix.rsplit("/", 1)[-1] + "_")
    sent = objects(s3, prefix + "/")
    assert {name[len(bundle.id):] for name in sent} == SUFFIXES
    for suffix in SUFFIXES:
        assert sent[bundle.id + suffix] == bundle.path(suffix).read_bytes(), suffix
    assert all(a["in_s3"] for a in bundle.account["artifacts"].values())
    assert f"s3://{s3.bucket}/{prefix}" in result.stderr
    assert s3.env["AWS_SECRET_ACCESS_KEY"] not in result.stderr + str(bundle.account)


def test_gdbs_text_replaces_libdws_in_the_bucket_too(run, s3):
    _, bundle = run.crash("--", CRASH, "segv", env={**s3.env, "S3_BUCKET": s3.bucket})
    sent = objects(s3, "issue/")
    assert sent[bundle.id + ".stacktrace"].decode() == bundle.stacktrace
    assert "Thread 1 " in bundle.stacktrace and "crash_here" in bundle.stacktrace


@pytest.mark.parametrize("env, words", [
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
    ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ({"S3_BUCKET": "no-such-bucket"}, "NoSuchBucket"),
    ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "127.0.0.1"),
    ({"AWS_ENDPOINT_URL_S3": "gopher://x"}, "AWS_ENDPOINT_URL_S3"),
    ({"AWS_ACCESS_KEY_ID": ""}, "credentials"),
])
def test_a_failed_upload_leaves_everything_in_cores_and_says_so(run, without_gdb, s3, env, words):
    result, bundle = run.crash("--", CRASH, "segv",
                               env={**s3.env, "S3_BUCKET": s3.bucket, "HOME": "/nonexistent",
                                    "AWS_MAX_ATTEMPTS": "1",
                                    "PATH": without_gdb, **env})
    assert result.returncode == 139
    assert words in result.stderr
    assert bundle.suffixes == SUFFIXES
    for artifact in bundle.account["artifacts"].values():
        assert artifact["in_cores_dir"] and not artifact["in_s3"] and artifact["error"]
    assert objects(s3, "") == {}


def test_without_a_cores_dir_it_goes_straight_to_s3(run, without_gdb, s3):
    result = run("--cores-dir", "/proc/none", "--", CRASH, "segv",
                 env={**s3.env, "S3_BUCKET": s3.bucket, "PATH": without_gdb})
    assert result.returncode == 139
    sent = objects(s3, "issue/")
    bundle_id = next(name for name in sent if name.endswith(".executable"))[: -len(".executable")]
    assert set(sent) == {bundle_id + suffix for suffix in SUFFIXES}
    assert not list(run.cwd.iterdir()), "the kernel's core is removed once it is in S3"


def test_without_a_cores_dir_crashes_of_one_second_do_not_overwrite_each_other(run, without_gdb, s3):
    script = f"mkdir a b c; for d in a b c; do cd $d; {CRASH} orphan 0; cd ..; done; sleep 5"
    run("--cores-dir", "/proc/none", "--", "sh", "-c", script,
        env={**s3.env, "S3_BUCKET": s3.bucket})
    sent = objects(s3, "issue/")
    assert len([name for name in sent if name.endswith(".core.zip")]) == 3
    assert len(sent) == 3 * len(SUFFIXES)


def test_a_network_that_says_nothing_costs_no_artifact(run, without_gdb, s3):
    """Spool first, network second: whatever the network does, the bundle is whole in cores_dir."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        init = run.start("--", CRASH, "segv", pid1=False,
                         env={**s3.env, "AWS_ENDPOINT_URL_S3": endpoint, "S3_BUCKET": s3.bucket,
                              "COREINIT_STOP_TIMEOUT": "4", "PATH": without_gdb})
        deadline = time.monotonic() + 30
        while not list(run.cores.glob("*.crash.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        init.send_signal(signal.SIGTERM)
        _, err = init.communicate(timeout=30)
    assert init.returncode == 139
    # Which of the two clocks ends first is nobody's business.
    assert "crash_here" in err
    assert "not all of the crash" in err or "corectl is killed over the crash" in err
    bundle = whole_bundle(run.cores)
    assert not any(artifact["in_s3"] for artifact in bundle.account["artifacts"].values())


def test_a_full_cores_dir_sends_the_core_straight_to_s3(run, without_gdb, s3):
    run.cores.mkdir()
    script = f"mount -t tmpfs -o size=64k none {run.cores} && exec {COREINIT} -v -- {CRASH} threads 8"
    result = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                             script], cwd=run.cwd, capture_output=True, text=True, timeout=60,
                            env=run.environment(**{**s3.env, "S3_BUCKET": s3.bucket,
                                                   "PATH": without_gdb}))
    assert result.returncode == 139
    assert "No space left on device" in result.stderr and "went straight to" in result.stderr
    core, = [data for name, data in objects(s3, "issue/").items() if name.endswith(".core.zip")]
    (run.cwd / "core.zip").write_bytes(core)
    subprocess.run(["unzip", "-tq", run.cwd / "core.zip"], check=True, stdout=subprocess.DEVNULL)


def test_the_early_account_is_there_before_the_core(run, without_gdb, tmp_path):
    """Should the container die while the core is sent, S3 knows at least what happened."""
    seen = []

    def look(handler):
        if handler.request_line.path.endswith(".core.zip"):
            seen.extend(json.loads(data) for key, data in strict.objects.items()
                        if key.endswith(".crash.json"))
        return False

    with StrictS3(tmp_path) as strict:
        strict.fail(look, times=100)
        run.crash("--", CRASH, "segv", env={**strict.env, "PATH": without_gdb})
    assert seen[0]["complete"] is False and seen[0]["signal"]["name"] == "SIGSEGV"
