"""Delivery that loses nothing: a bundle is sent while it is made, and whatever happens meanwhile,
its core is in S3 with the right checksum, or whole on a disk and sent by the next start: once."""

import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import zipfile

import jsonschema
import pytest

from bundle import SCHEMA, SUFFIXES
from conftest import CORECTL, COREINIT, CRASH, SANITIZED, Runner
from left import upload
from s3_server import StrictS3, error, reset

MIB = 1 << 20
KEYS = {".stacktrace": "stacktrace", ".core.zip": "core", ".executable": "executable",
        ".libs.zip": "libs"}


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


class Gate:
    """A fault that holds a request until it is opened; then all goes on as usual."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, handler):
        self.reached.set()
        self.opened.wait(120)
        return False


def sent(s3):
    """Objects by suffix, of the one bundle that there may be."""
    ids = {key.partition("/")[2].rsplit(".", 2 if key.endswith((".zip", ".json")) else 1)[0]
           for key in s3.objects}
    assert len(ids) == 1, ids
    bundle_id, = ids
    return {key.partition(bundle_id)[2]: data for key, data in s3.objects.items()}


def check_core(data, size):
    """A zip of a whole core with at least that much in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        entry, = archive.infolist()
        assert entry.filename == "core" and entry.file_size > size
        with archive.open(entry) as core:
            assert core.read(4) == b"\x7fELF"


def check_sent(s3, size=0, suffixes=SUFFIXES):
    """All that was made is in S3, as crash.json there says. Returns crash.json."""
    objects = sent(s3)
    assert set(objects) == set(suffixes)
    assert not any(parts for _, parts in s3.uploads.values()), "nothing is left half-sent"
    account = json.loads(objects[".crash.json"])
    jsonschema.validate(account, SCHEMA)
    assert account["complete"] is True and account["capture"]["truncated"] is not True
    for suffix in set(suffixes) - {".crash.json"}:
        artifact = account["artifacts"][KEYS[suffix]]
        assert artifact["in_s3"] is True
        assert artifact["sha256"] == hashlib.sha256(objects[suffix]).hexdigest(), suffix
        assert artifact["size"] == len(objects[suffix])
    check_core(objects[".core.zip"], size)
    return account


def core_parts(s3):
    """How often each part of .core.zip was sent well."""
    numbers = [int(request.query["partNumber"]) for request in s3.requests
               if request.action == "UploadPart" and request.status == 200]
    return {number: numbers.count(number) for number in numbers}


def sweep(env, cores):
    """What the next start does. Returns its exit status and what it said."""
    return upload("--sweep", env={**env, "COREINIT_CORES_DIR": cores})


def under_strace(tmp_path, *options):
    """A corectl whose system calls fail, or take long."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is missing")
    path = tmp_path / "corectl-under-strace"
    path.write_text(f'#!/bin/sh\nexec {strace} -f -qq -o /dev/null {" ".join(options)} {CORECTL} "$@"\n')
    path.chmod(0o755)
    return {"COREINIT_CORECTL": path}


def in_mounts(run, mounts, *arguments, env, timeout=60):
    """Runs coreinit with mounts of its own, beneath a shell script that makes them."""
    script = f"{mounts} && exec {COREINIT} -v {' '.join(map(str, arguments))}"
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                           script], cwd=run.cwd, capture_output=True, text=True, timeout=timeout,
                          env=run.environment(**env))


# While it is made.


def test_parts_arrive_before_the_zip_is_whole_on_a_slow_disk(run, without_gdb, s3, tmp_path):
    seen = []

    def look(handler):
        seen.append({path.name.rpartition("_")[2].partition(".")[2] for path in run.cores.iterdir()})
        return False

    s3.fail(look, "UploadPart", times=100)
    slow = under_strace(tmp_path, "-e trace=write,fsync -e inject=write,fsync:delay_enter=10000")
    result = run("--", CRASH, "big-noise", 17 * MIB, env={**s3.env, **slow, "PATH": without_gdb})
    assert result.returncode == 139
    assert "core.zip.part" in seen[0] and "core.zip" not in seen[0], result.stderr
    check_sent(s3, 17 * MIB)


def test_a_network_that_hangs_holds_up_nothing_on_the_disk(run, without_gdb, s3):
    gate = Gate()
    s3.fail(gate)
    init = run.start("--", CRASH, "big-noise", 17 * MIB, env={**s3.env, "PATH": without_gdb})
    assert gate.reached.wait(60)
    deadline = time.monotonic() + 60
    while not list(run.cores.glob("*.crash.json")) or list(run.cwd.iterdir()):
        assert time.monotonic() < deadline and init.poll() is None, "the core is safe in one place"
        time.sleep(0.01)
    assert {path.name.rpartition("_")[2].partition(".")[2] for path in run.cores.iterdir()
            if not path.name.startswith(".")} == {suffix[1:] for suffix in SUFFIXES}
    assert not s3.objects
    gate.opened.set()
    init.communicate(timeout=60)
    check_sent(s3, 17 * MIB)


def test_without_a_cores_dir_the_maker_waits_for_the_network_with_little_memory(
        run, without_gdb, s3, tmp_path):
    """72 MiB that can't be compressed go through 64 MiB of memory."""
    peak = tmp_path / "peak"
    measuring = tmp_path / "measuring"
    measuring.write_text(
        "#!/usr/bin/python3\nimport resource, subprocess, sys\n"
        f"status = subprocess.call(['{CORECTL}', *sys.argv[1:]], close_fds=False)\n"
        f"open('{peak}', 'w').write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))\n"
        "sys.exit(status)\n")
    measuring.chmod(0o755)
    result = run("--cores-dir", "none", "--", CRASH, "big-noise", 72 * MIB,
                 env={**s3.env, "COREINIT_CORECTL": measuring, "PATH": without_gdb})
    assert result.returncode == 139
    check_sent(s3, 72 * MIB)
    assert not run.cores.exists()
    if not SANITIZED:
        assert int(peak.read_text()) * 1024 <= 64 * MIB


def test_each_object_tells_the_crash(run, without_gdb, s3):
    run("--", CRASH, "segv", env={**s3.env, "PATH": without_gdb})
    bundle_id = check_sent(s3)["id"]
    puts = [request for request in s3.requests if request.action == "PutObject"]
    assert {request.headers["x-amz-meta-crash-id"] for request in puts} == {bundle_id}


# What stays.


@pytest.mark.parametrize("keep_local, stays", [("always", True), ("until-sent", False),
                                               ("never", False)])
def test_what_was_sent_stays_as_keep_local_says(run, without_gdb, s3, keep_local, stays):
    result = run("--keep-local", keep_local, "--", CRASH, "segv",
                 env={**s3.env, "PATH": without_gdb})
    assert result.returncode == 139
    account = check_sent(s3)
    assert all(artifact["in_cores_dir"] is stays for artifact in account["artifacts"].values())
    assert (f"; in {run.cores} and s3://" in result.stderr) is stays and " s3://" in result.stderr
    left = {path.name.partition(account["id"])[2] for path in run.cores.iterdir()}
    assert left == (SUFFIXES | {".journal"} if stays else set())


def test_what_the_bucket_lets_nobody_compare_stays(run, without_gdb, s3):
    result, bundle = run.crash("--keep-local", "until-sent", "--", CRASH, "segv",
                               env={**s3.env, "PATH": without_gdb, "S3_CHECKSUM": "md5",
                                    "S3_SSE": "aws:kms"})  # ETags are no MD5s then
    account = check_sent(s3)
    assert all(artifact["in_cores_dir"] for artifact in account["artifacts"].values())
    assert bundle.suffixes == SUFFIXES and "stays in" in result.stderr


@pytest.mark.parametrize("keep_local", ["until-sent", "never"])
def test_what_could_not_be_sent_stays_whatever_keep_local_says(run, without_gdb, s3, keep_local):
    s3.fail(error(403, "AccessDenied", "Access Denied"), "PutObject", times=100)
    result, bundle = run.crash("--keep-local", keep_local, "--", CRASH, "segv",
                               env={**s3.env, "PATH": without_gdb})
    assert bundle.suffixes == SUFFIXES
    assert "AccessDenied" in result.stderr
    assert not any(artifact["in_s3"] for artifact in bundle.account["artifacts"].values())
    assert all(artifact["in_cores_dir"] for artifact in bundle.account["artifacts"].values())


# Disks.


def test_a_full_cores_dir_costs_nothing(run, without_gdb, s3):
    """ENOSPC before the first byte."""
    run.cores.mkdir()
    result = in_mounts(run, f"mount -t tmpfs -o size=16k none {run.cores} && "
                            f"(cat /dev/zero > {run.cores}/full 2>/dev/null || true)",
                       "--", CRASH, "big-noise", 17 * MIB, env={**s3.env, "PATH": without_gdb})
    assert result.returncode == 139
    account = check_sent(s3, 17 * MIB)
    assert not any(artifact["in_cores_dir"] for artifact in account["artifacts"].values())
    assert "No space left on device" in result.stderr


@pytest.mark.parametrize("room", [3, 12, 17], ids=lambda room: f"{room}M")
def test_a_cores_dir_that_fills_up_on_the_way_costs_nothing(run, without_gdb, s3, room):
    """ENOSPC in the midst of the core: before its first part, behind it, and at its last."""
    run.cores.mkdir()
    result = in_mounts(run, f"mount -t tmpfs -o size={room}m none {run.cores}",
                       "--", CRASH, "big-noise", 17 * MIB, env={**s3.env, "PATH": without_gdb})
    assert result.returncode == 139
    account = check_sent(s3, 17 * MIB)
    assert account["artifacts"]["core"]["in_cores_dir"] is False
    assert account["artifacts"]["executable"]["in_cores_dir"] is True, "there is room again"
    assert ".core.zip cannot be written to" in result.stderr
    assert ".core.zip went straight to" in result.stderr


def test_a_flush_that_fails_at_the_end_costs_nothing(run, without_gdb, s3, tmp_path):
    """ENOSPC where a file system that allots late tells it: at fsync(2)."""
    failing = under_strace(tmp_path, "-e trace=fsync -e inject=fsync:error=ENOSPC")
    result = run("--", CRASH, "big-noise", 17 * MIB, env={**s3.env, **failing, "PATH": without_gdb})
    assert result.returncode == 139
    account = check_sent(s3, 17 * MIB)
    assert not any(artifact["in_cores_dir"] for artifact in account["artifacts"].values())
    assert not list(run.cores.glob("*.zip*")), "what isn't surely on the disk is not there"


def test_a_read_only_cores_dir_costs_nothing(run, without_gdb, s3):
    run.cores.mkdir()
    result = in_mounts(run, f"mount -t tmpfs -o ro none {run.cores}",
                       "--", CRASH, "big-noise", 17 * MIB, env={**s3.env, "PATH": without_gdb})
    assert result.returncode == 139
    assert "Read-only file system" in result.stderr
    check_sent(s3, 17 * MIB)


def test_old_bundles_make_room_for_a_new_one(run, without_gdb, s3):
    """Sent ones go, where the disk fills up under a new one."""
    run.cores.mkdir()
    crash = f"{COREINIT} -- {CRASH} big-noise {8 * MIB}"
    result = in_mounts(run, f"mount -t tmpfs -o size=22m none {run.cores} && {{ {crash}; {crash}; }}"
                            f"; true", "--max-use", "100M", "--", CRASH, "big-noise", 8 * MIB,
                       env={**s3.env, "COREINIT_MAX_USE": "100M", "PATH": without_gdb})
    assert result.returncode == 139
    assert "cannot be written" not in result.stderr
    accounts = [json.loads(data) for key, data in s3.objects.items() if key.endswith(".crash.json")]
    assert len(accounts) == 3
    assert all(artifact["in_cores_dir"] and artifact["in_s3"] for account in accounts
               for artifact in account["artifacts"].values())


def test_with_neither_room_nor_bucket_it_says_where_the_core_is(run, without_gdb):
    run.cores.mkdir()
    result = in_mounts(run, f"mount -t tmpfs -o size=2m none {run.cores}",
                       "--", CRASH, "big-noise", 8 * MIB, env={"PATH": without_gdb})
    assert result.returncode == 139
    assert "copy it before the container is removed" in result.stderr
    assert (run.cwd / "core").stat().st_size > 8 * MIB


# S3.


def test_what_s3_had_when_it_died_is_not_sent_again(run, without_gdb, s3):
    s3.fail(lambda handler: None if handler.request_line.query["partNumber"] != "3" else
            reset()(handler), "UploadPart", times=3)
    s3.fail(reset(), "UploadPart")
    env = {**s3.env, "PATH": without_gdb, "AWS_MAX_ATTEMPTS": "1"}
    result = run("--", CRASH, "big-noise", 25 * MIB, env=env)
    assert result.returncode == 139
    assert "stays in" in result.stderr
    core, = run.cores.glob("*.core.zip")
    check_core(core.read_bytes(), 25 * MIB)
    assert sorted(core_parts(s3)) == [1, 2]

    status, log = sweep(env, run.cores)
    assert status == 0, log
    check_sent(s3, 25 * MIB)
    assert core_parts(s3) == {1: 1, 2: 1, 3: 1, 4: 1}


def test_s3_that_refuses_for_good_is_left_nothing(run, without_gdb, s3):
    s3.fail(lambda handler: False, "UploadPart")
    s3.fail(error(403, "AccessDenied", "Access Denied"), "UploadPart", times=100)
    run("--", CRASH, "big-noise", 17 * MIB, env={**s3.env, "PATH": without_gdb})
    assert s3.aborted and not s3.uploads
    core, = run.cores.glob("*.core.zip")
    check_core(core.read_bytes(), 17 * MIB)


# Time.


def moment_of_file(pattern):
    """Once a file is in the cores dir."""

    def wait(life):
        life.poll(lambda: list(life.run.cores.glob(pattern)))

    return wait


def moment_of_request(action, name="", nth=1):
    """Once S3 has begun to see a request; it is held until the moment is over."""

    def prepare(life):
        count = 0

        def hold(handler):
            nonlocal count
            request = handler.request_line
            if request.action != action or name not in request.path:
                return False
            with life.s3.lock:
                count += 1
                is_it = count == nth
            return life.gate(handler) if is_it else False

        life.s3.fail(hold, times=10 ** 6)

    def wait(life):
        life.poll(life.gate.reached.is_set)

    wait.prepare = prepare
    return wait


def moment_of_start(life):
    life.poll(lambda: life.pid_file.exists() and life.pid_file.read_text())


MOMENTS = {
    "start": moment_of_start,
    "claim": moment_of_file(".*.journal"),
    "early": moment_of_request("PutObject", ".crash.json"),
    "stacktrace": moment_of_request("PutObject", ".stacktrace"),
    "core-begun": moment_of_file("*.core.zip.part"),
    "upload-begun": moment_of_request("CreateMultipartUpload"),
    "first-part": moment_of_request("UploadPart"),
    "third-part": moment_of_request("UploadPart", nth=3),
    "completing": moment_of_request("CompleteMultipartUpload"),
    "account": moment_of_file("*.crash.json"),
}


class Life:
    """One coreinit, whose program crashes and whose collector is met at a moment."""

    SIZE = 17 * MIB

    def __init__(self, directory, path, s3, moment, arguments=(), **env):
        self.run = Runner(directory)
        self.s3, self.gate, self.moment = s3, Gate(), moment
        self.pid_file = directory / "pid"
        script = directory / "corectl"
        script.write_text(f"#!/bin/sh\n[ -e {self.pid_file} ] || echo $$ > {self.pid_file}\n"
                          f"exec {CORECTL} \"$@\"\n")
        script.chmod(0o755)
        self.env = {**s3.env, "PATH": path, "COREINIT_CORECTL": script, **env}
        if hasattr(moment, "prepare"):
            moment.prepare(self)
        self.init = self.run.start(*arguments, "--", CRASH, "big-noise", self.SIZE, pid1=False,
                                   env=self.env)

    def poll(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            if self.init.poll() is not None:
                return  # it was faster than the look for a file
            time.sleep(0.002)

    def collector(self):
        return int(self.pid_file.read_text())

    def meet(self, act):
        self.moment(self)
        with contextlib.suppress(ProcessLookupError):
            act(self)

    def end(self):
        _, self.err = self.init.communicate(timeout=90)
        self.gate.opened.set()
        assert self.init.returncode == 139, self.err

    def check(self):
        """Sent, or whole on the disk and sent by the next start."""
        if "corectl is killed over" in self.err and not list(self.run.cores.glob(".*.journal")):
            # There was not even the time to begin a bundle.
            assert (self.run.cwd / "core").stat().st_size > self.SIZE
            return
        if not any(key.endswith(".crash.json") and json.loads(data)["complete"]
                   for key, data in self.s3.objects.items()) or self.s3.uploads:
            status, log = sweep(self.env, self.run.cores)
            assert status == 0, self.err + log
        try:
            check_sent(self.s3, self.SIZE, set(sent(self.s3)) | {".core.zip", ".crash.json"})
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.err}") from failure
        assert sweep(self.env, self.run.cores) == (0, ""), "there is nothing left to send"
        assert not list(self.run.cores.glob("*.part"))
        assert not (self.run.cwd / "core").exists(), self.err


def live(tmp_path, path, name, act, **env):
    """One life, for one moment."""
    directory = tmp_path / name
    directory.mkdir()
    arguments = ("--capture", env.pop("capture")) if "capture" in env else ()
    with StrictS3(directory) as s3:
        life = Life(directory, path, s3, MOMENTS[name], arguments, **env)
        try:
            life.meet(act)
            life.end()
            life.check()
        except BaseException:
            life.gate.opened.set()
            life.init.kill()
            life.init.wait()
            raise


def at_all_moments(tmp_path, path, act, **env):
    """Lives beside each other: most of them wait."""
    failures = []
    with concurrent.futures.ThreadPoolExecutor(len(MOMENTS)) as pool:
        lives = {name: pool.submit(live, tmp_path, path, name, act, **env) for name in MOMENTS}
        for name, future in lives.items():
            try:
                future.result()
            except Exception as failure:
                failures.append((name, repr(failure)))
    assert not failures, "\n".join(f"{name}: {words}" for name, words in failures)


def test_asked_to_stop_at_ten_moments_while_s3_hangs_nothing_is_lost(tmp_path, without_gdb):
    at_all_moments(tmp_path, without_gdb, lambda life: life.init.send_signal(signal.SIGTERM),
                   COREINIT_STOP_TIMEOUT="8")


def kill_collector(life):
    os.kill(life.collector(), signal.SIGKILL)
    life.gate.opened.set()


@pytest.mark.parametrize("capture", ["kernel", "ptrace"])
def test_a_collector_killed_at_ten_moments_loses_nothing(tmp_path, without_gdb, capture):
    at_all_moments(tmp_path, without_gdb, kill_collector, capture=capture)
