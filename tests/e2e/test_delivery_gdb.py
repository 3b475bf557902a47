"""A gdb that hangs, while a bundle is sent."""

import hashlib
import json
import os
import signal
import time

import pytest
from bundle import SUFFIXES, bundles
from conftest import CRASH, pid_of_init
from s3_server import StrictS3
from tracing import BY_PTRACE, children_of


@pytest.fixture
def hanging_gdb(tmp_path, without_gdb):
    """A PATH with a gdb that tells a stack and never ends, and the file that it leaves."""
    directory, began = tmp_path / "gdb", tmp_path / "began"
    directory.mkdir()
    (directory / "gdb").write_text("#!/bin/sh\n"
                                   "echo 'Program terminated with signal SIGSEGV'\n"
                                   "echo 'Thread 1 (LWP 1):'\n"
                                   "echo '#0  0x0000000000000001 in half_told ()'\n"
                                   f": >{began}\nexec sleep 1000\n")
    (directory / "gdb").chmod(0o755)
    return f"{directory}:{without_gdb}", began


def wait_until(holds, init):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline and init.poll() is None, init.stderr.read()
        time.sleep(0.02)


def test_a_gdb_that_hangs_holds_up_nothing(run, tmp_path, hanging_gdb):
    """All but its text is in S3 while it hangs, and a stop doesn't wait for it; when it is killed
    then, there is no time left to put what it told in place of what is there."""
    path, began = hanging_gdb
    with StrictS3(tmp_path) as s3:
        env = {**s3.env, "PATH": path, "COREINIT_STOP_TIMEOUT": "6"}
        init = run.start("--", CRASH, "segv", env=env)
        wait_until(began.exists, init)
        wait_until(lambda: any(key.endswith(".libs.zip") for key in s3.objects), init)
        os.kill(pid_of_init(init), signal.SIGTERM)
        _, err = init.communicate(timeout=60)
        objects = dict(s3.objects)
    bundle_id, = (key.removesuffix(".crash.json") for key in objects if key.endswith(".crash.json"))
    assert set(objects) == {bundle_id + suffix for suffix in SUFFIXES}, err
    account = json.loads(objects[bundle_id + ".crash.json"])
    assert account["complete"], err
    assert "stays as it was before it could be made anew: there is no time left" in err
    assert b"half_told" not in objects[bundle_id + ".stacktrace"], err
    for name, suffix in (("core", ".core.zip"), ("stacktrace", ".stacktrace")):
        assert account["artifacts"][name]["sha256"] == hashlib.sha256(objects[bundle_id + suffix]).hexdigest()


def test_a_collector_that_is_killed_meanwhile_leaves_a_whole_bundle(run, hanging_gdb):
    """Without a bucket the next attempt has nothing to do, and that isn't a failure."""
    path, began = hanging_gdb
    init = run.start(*BY_PTRACE, CRASH, "segv", env={"PATH": path})
    wait_until(lambda: began.exists() and list(run.cores.glob("*.crash.json")), init)
    for pid in children_of(pid_of_init(init)):
        os.kill(pid, signal.SIGKILL)
    _, err = init.communicate(timeout=60)
    assert init.returncode == 128 + signal.SIGSEGV, err
    bundle, = bundles(run.cores)
    assert bundle.suffixes == SUFFIXES and bundle.account["complete"], err
    assert "it is started once more" in err, err
    assert not any(words in err for words in ("left no core", "can't be", "next try")), err
