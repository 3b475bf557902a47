"""A bundle of a process that was held at its fatal signal: no file of the kernel's is needed."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from bundle import SUFFIXES, bundles, whole_bundle
from conftest import CORECTL, COREINIT, CRASH
from s3_server import StrictS3, stall

PTRACE = ("--capture", "ptrace")


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def line_number(text, pattern):
    return next(i for i, line in enumerate(text.splitlines()) if re.search(pattern, line))


def test_a_held_process_leaves_a_whole_bundle(run, tmp_path):
    result, bundle = run.crash(*PTRACE, "--", CRASH, "segv")
    assert result.returncode == 139
    assert bundle.suffixes == SUFFIXES

    account = bundle.account
    assert account["complete"] is True and account["cause"] == "signal"
    capture = account["capture"]
    assert (capture["mode"], capture["source"]) == ("ptrace", "ptrace")
    assert capture["no_core"] is None and capture["truncated"] is False
    assert capture["unreadable"] == 0
    assert capture["core_size"] == capture["expected_size"] == bundle.core_entry().file_size
    assert account["signal"]["name"] == "SIGSEGV"
    assert account["signal"]["code_name"] == "SEGV_MAPERR"
    assert account["signal"]["address"] == "0x0"
    assert account["program"] is True and account["tid"] == account["pid"]
    assert account["argv"] == [str(CRASH), "segv"] and account["exe"] == str(CRASH)
    assert account["cwd"] == str(run.cwd) and account["comm"] == account["thread"] == "crash"
    assert 0 <= account["uptime"] < 60
    assert account["uid"] == os.getuid() and account["limits"]["nofile"]["soft"] is not None
    assert [f["function"] for f in account["frames"][:3]] == ["crash_here", "inner_caller",
                                                              "outer_caller"]
    for name, artifact in account["artifacts"].items():
        data = (run.cores / artifact["file"]).read_bytes()
        assert (artifact["size"], artifact["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert artifact["in_cores_dir"] and not artifact["in_s3"] and not artifact["error"], name

    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "crash_here" in bundle.backtrace(tmp_path / "unpacked").splitlines()[0]
    assert not list(run.cwd.iterdir()), "the kernel writes no second core"


def test_the_stack_is_in_the_log_before_all_else(run, without_gdb):
    result, bundle = run.crash(*PTRACE, "--", CRASH, "segv", env={"PATH": without_gdb})
    held = line_number(result.stderr, "is held while its core is read")
    assert line_number(result.stderr, r"^coreinit: error: #0 .* crash_here at .*crash\.c:\d+") == held + 2
    build_id = bundle.account["frames"][0]["build_id"]
    assert line_number(result.stderr, f"^coreinit: error: crash: build-id {build_id}$") > held + 2
    assert f"crash: build-id {build_id}\n" in bundle.stacktrace
    assert line_number(result.stderr, f"bundle {bundle.id}:") > held + 2


def test_the_stack_is_in_the_log_even_where_no_bundle_can_be(run):
    result = run("--cores-dir", "/proc/none", *PTRACE, "--", CRASH, "segv")
    assert result.returncode == 139
    assert re.search(r"^coreinit: error: #0 .* crash_here at", result.stderr, re.M)
    assert "there is no place for a bundle" in result.stderr
    assert "the core of pid" in result.stderr and "is lost" in result.stderr


def test_gdb_reads_a_small_core(run):
    """There is no raw core on a disk; what gdb gets holds the stacks, and what they point at."""
    _, bundle = run.crash(*PTRACE, "--", CRASH, "threads", "3")
    text = bundle.stacktrace
    assert len(re.findall(r"^Thread \d+ ", text, re.M)) == 4
    assert re.search(r"^#0 .*crash_here \(value=", text, re.M)
    assert re.search(r"^ +nowhere = 0x0$", text, re.M)
    assert "Cannot access memory" not in text.split("Thread 1 ", 1)[1]


def test_threads_have_names(run, without_gdb):
    result, bundle = run.crash(*PTRACE, "--", CRASH, "thread-segv", env={"PATH": without_gdb})
    assert re.search(r'^coreinit: error: Thread \d+ "crash-thread":$', result.stderr, re.M)
    assert bundle.account["thread"] == "crash-thread" and bundle.account["comm"] == "crash"
    assert bundle.account["tid"] != bundle.account["pid"]
    threads = re.findall(r'^Thread (\d+) "(\S+)":$', bundle.stacktrace, re.M)
    assert threads == [(str(bundle.account["tid"]), "crash-thread"),
                       (str(bundle.account["pid"]), "crash")]


def test_every_thread_is_unwound(run, without_gdb):
    _, bundle = run.crash(*PTRACE, "--", CRASH, "threads", "30", env={"PATH": without_gdb})
    stacks = bundle.stacktrace.split("\n\n")
    assert "crash_here" in stacks[1]
    assert len(stacks) == 1 + 31 and all(" idle " in stack for stack in stacks[2:])


@pytest.mark.parametrize("mode, status", [("abort", 134), ("handler-abort", 134), ("nodump", 139),
                                          ("overflow", 139), ("null-call", 139)])
def test_each_way_to_die_is_bundled(run, without_gdb, mode, status):
    result, bundle = run.crash(*PTRACE, "--", CRASH, mode, env={"PATH": without_gdb})
    assert result.returncode == status
    assert bundle.suffixes == SUFFIXES
    assert any(frame["function"] == "main" for frame in bundle.account["frames"]) or mode == "overflow"


def test_a_deleted_executable_is_bundled_and_its_lines_are_known(run, without_gdb, tmp_path):
    copy = tmp_path / "gone"
    shutil.copy(CRASH, copy)
    script = f"(sleep 1; {shutil.which('rm')} {copy}; kill -SEGV $$) & exec {copy} sleep 60"
    _, bundle = run.crash(*PTRACE, "--", "sh", "-c", script, env={"PATH": without_gdb})
    assert not copy.exists()
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert re.search(r"do_sleep at .*crash\.c:\d+", bundle.stacktrace)


def test_a_worker_that_crashes_is_bundled_and_its_parent_sees_its_signal(run, without_gdb):
    result, bundle = run.crash(*PTRACE, "--", CRASH, "fork-worker", env={"PATH": without_gdb})
    assert result.returncode == 0 and result.stdout == "worker: signal 11\n"
    assert bundle.account["program"] is False
    assert bundle.suffixes == SUFFIXES


# What happens where there is no room, or little time.

def crash_on_a_small_disk(run, size, path, **env):
    run.cores.mkdir()
    script = f"mount -t tmpfs -o size={size} none {run.cores} && " \
             f"exec {COREINIT} -v --capture ptrace -- {CRASH} threads 8"
    return subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script],
                          cwd=run.cwd, env={**run.environment(**env), "PATH": path},
                          capture_output=True, text=True, timeout=60)


def test_without_room_the_core_is_lost_and_it_says_so(run, without_gdb):
    result = crash_on_a_small_disk(run, "16k", without_gdb)
    assert result.returncode == 139
    assert "No space left on device" in result.stderr
    lost, = [line for line in result.stderr.splitlines() if "the core of pid" in line]
    assert "is lost" in lost and f"give {run.cores} more room, or set S3_BUCKET" in lost
    assert "stays at" not in result.stderr


def test_without_room_the_core_goes_straight_to_s3(run, without_gdb, tmp_path):
    with StrictS3(tmp_path) as s3:
        result = crash_on_a_small_disk(run, "64k", without_gdb, **s3.env)
        core, = [body for key, body in s3.objects.items() if key.endswith(".core.zip")]
    assert result.returncode == 139
    assert "went straight to" in result.stderr and "is lost" not in result.stderr
    (tmp_path / "core.zip").write_bytes(core)
    subprocess.run(["unzip", "-tq", tmp_path / "core.zip"], check=True, stdout=subprocess.DEVNULL)


def test_a_slow_upload_does_not_keep_the_process(run, without_gdb, tmp_path):
    """What waits for the process learns of its end as soon as all is read of it."""
    with StrictS3(tmp_path) as s3:
        s3.fail(stall(60))
        init = run.start(*PTRACE, "--", CRASH, "fork-worker", "0", pid1=False,
                         env={**s3.env, "PATH": without_gdb})
        assert init.stdout.readline() == "worker: signal 11\n"
        wait_for(lambda: s3.requests and list(run.cores.glob("*.crash.json")))
        assert not any(request.status for request in s3.requests)
        assert whole_bundle(run.cores).account["capture"]["source"] == "ptrace"
        assert init.poll() is None
        init.terminate()
        time.sleep(0.5)
        init.terminate()
        init.communicate(timeout=20)


def test_a_process_that_is_killed_while_it_is_read_is_bundled_as_far_as_it_was(run, without_gdb):
    """The memory's rest is zeros; the account and the log say how much."""
    script = "import os; x = os.urandom(400 << 20); open('pid', 'w').write(str(os.getpid())); os.abort()"
    init = run.start(*PTRACE, "--", "/usr/bin/python3", "-c", script, pid1=False,
                     env={"PATH": without_gdb})
    wait_for(lambda: any(p.stat().st_size for p in run.cores.glob("*.core.zip.part")))
    os.kill(int((run.cwd / "pid").read_text()), signal.SIGKILL)
    _, err = init.communicate(timeout=60)
    bundle, = bundles(run.cores)
    unreadable = bundle.account["capture"]["unreadable"]
    assert unreadable > 0
    assert f"{unreadable} bytes of pid" in err and "could not be read" in err
    assert bundle.core_entry().file_size == bundle.account["capture"]["core_size"]


def test_a_process_that_is_killed_before_it_is_read_is_told(run, without_gdb, tmp_path):
    corectl = tmp_path / "corectl"
    corectl.write_text(f'#!/bin/sh\nkill -KILL $(cat pid)\nsleep 0.5\nexec {CORECTL} "$@"\n')
    corectl.chmod(0o755)
    result, bundle = run.crash(*PTRACE, "--", "sh", "-c", f"echo $$ > pid; exec {CRASH} segv",
                               env={"COREINIT_CORECTL": corectl, "PATH": without_gdb})
    assert result.returncode == 137
    assert "left no core: the process" in result.stderr and "it was killed meanwhile" in result.stderr
    assert bundle.account["capture"]["source"] == "none"
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert ".core.zip" not in bundle.suffixes


@pytest.mark.parametrize("script, words", [
    ("kill -KILL $$", "corectl was killed by SIGKILL"),
    ("exit 1", "corectl failed with status 1"),
    ("trap '' TERM; sleep 60 & sleep 60", "corectl is killed over the crash of pid"),
])
def test_a_collector_that_fails_does_not_change_how_the_process_ends(run, tmp_path, script, words):
    corectl = tmp_path / "corectl"
    corectl.write_text("#!/bin/sh\n" + script)
    corectl.chmod(0o755)
    result = run("--collect-timeout", "1", *PTRACE, "--", CRASH, "fork-worker", "0",
                 env={"COREINIT_CORECTL": corectl})
    assert result.returncode == 0 and result.stdout == "worker: signal 11\n"
    assert words in result.stderr and "the kernel's core" not in result.stderr
