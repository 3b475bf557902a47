"""A crash under coreinit leaves a complete bundle; the kernel's core file is the source."""

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import time
import zipfile

import pytest

from bundle import SUFFIXES, bundles
from conftest import BUILD, CORECTL, COREINIT, CRASH


def test_a_crash_leaves_five_artifacts_and_its_status(run, tmp_path):
    result, bundle = run.crash("--", CRASH, "segv",
                               env={"RUN_ID": "r1", "S3_KEY_PREFIX": "team-a/fluent-bit"})
    assert result.returncode == 139
    assert bundle.suffixes == SUFFIXES
    host = os.uname().nodename
    assert re.fullmatch(rf"fluent-bit_\d{{4}}-\d\d-\d\dT\d{{6}}_{re.escape(host)}_r1", bundle.id)
    for suffix in SUFFIXES:
        assert stat.S_IMODE(bundle.path(suffix).stat().st_mode) == 0o600
    assert stat.S_IMODE(run.cores.stat().st_mode) == 0o700

    account = bundle.account
    assert account["cause"] == "signal" and account["complete"] is True
    assert account["signal"]["name"] == "SIGSEGV"
    assert account["argv"] == [str(CRASH), "segv"]
    assert account["exe"] == str(CRASH)
    assert any(frame["function"] == "crash_here" for frame in account["frames"])
    for name, artifact in account["artifacts"].items():
        data = (run.cores / artifact["file"]).read_bytes()
        assert (artifact["size"], artifact["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert artifact["in_cores_dir"] and not artifact["in_s3"], name

    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "crash_here" in bundle.backtrace(tmp_path / "unpacked").splitlines()[0]
    assert not list(run.cwd.iterdir()), "the kernel's core is a second copy once it is zipped"


def test_the_stack_is_in_the_log(run):
    result, bundle = run.crash("--", CRASH, "segv")
    assert re.search(r"^coreinit: error: #0 .*crash_here", result.stderr, re.M)
    assert f"bundle {bundle.id}:" in result.stderr


def test_gdb_tells_the_locals_of_every_thread(run):
    _, bundle = run.crash("--", CRASH, "threads", "3")
    text = bundle.stacktrace
    assert len(re.findall(r"^Thread \d+ ", text, re.M)) >= 3
    assert "Copyright" not in text and "[New LWP" not in text and "warranty" not in text.lower()


def test_without_gdb_the_stack_is_libdws(run, without_gdb):
    _, bundle = run.crash("--", CRASH, "segv", env={"PATH": without_gdb})
    assert bundle.suffixes == SUFFIXES
    assert re.search(r"#0 +0x[0-9a-f]{16} in crash_here at .*crash\.c:\d+", bundle.stacktrace)


def test_a_handler_that_aborts_shows_what_it_handled(run, tmp_path):
    """Fluent Bit's own SIGSEGV handler prints a trace and calls abort()."""
    result, bundle = run.crash("--", CRASH, "handler-abort")
    assert result.returncode == 134
    functions = [frame["function"] for frame in bundle.account["frames"]]
    assert bundle.account["signal"]["name"] == "SIGABRT"
    assert "crash_here" in functions, functions
    assert "crash_here" in bundle.backtrace(tmp_path / "u")


def test_the_crashing_thread_comes_first(run):
    _, bundle = run.crash("--", CRASH, "thread-segv")
    assert any(f["function"] == "crash_here" for f in bundle.account["frames"])
    assert bundle.account["tid"] != bundle.account["pid"]
    assert bundle.account["thread"] is None, "the kernel's core names the leader alone"


@pytest.mark.parametrize("mode, signame", [("abort", "SIGABRT"), ("fpe", "SIGFPE"), ("bus", "SIGBUS"),
                                           ("ill", "SIGILL"), ("trap", "SIGTRAP")])
def test_each_core_signal_is_a_crash(run, without_gdb, mode, signame):
    result, bundle = run.crash("--", CRASH, mode, env={"PATH": without_gdb})
    assert result.returncode == 128 + getattr(signal, signame)
    assert bundle.account["signal"]["name"] == signame
    assert bundle.suffixes == SUFFIXES


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143),
                                            ("kill -KILL $$", 137), ("exit 139", 139)])
def test_what_is_no_crash_leaves_nothing(run, script, status):
    result = run("--", "sh", "-c", script)
    assert result.returncode == status
    assert not run.cores.exists()


@pytest.mark.parametrize("attempt", range(5))
def test_a_program_that_changed_its_directory_is_found(run, tmp_path, attempt):
    """It crashes at once: sometimes PID 1 has seen the directory, sometimes it has to be searched."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _, bundle = run.crash("--", CRASH, "chdir", elsewhere)
    assert bundle.suffixes == SUFFIXES
    assert not list(elsewhere.iterdir())


def test_the_last_working_directory_is_told(run, without_gdb, tmp_path):
    script = f"cd {tmp_path}; sleep 3; kill -SEGV $$"
    _, bundle = run.crash("--", "sh", "-c", script, env={"PATH": without_gdb})
    assert bundle.account["cwd"] == str(tmp_path)


def test_a_shell_that_reports_its_childs_crash_is_looked_behind(run, tmp_path):
    result, bundle = run.crash("--", "sh", "-c", f"{CRASH} segv; exit $?")
    assert result.returncode == 139
    assert bundle.suffixes == SUFFIXES
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "crash_here" in bundle.backtrace(tmp_path / "u")


def test_an_orphan_that_crashes_is_bundled_while_the_program_goes_on(run):
    result = run("--", "sh", "-c", f"{CRASH} orphan; sleep 4; exit 6")
    assert result.returncode == 6
    bundle, = bundles(run.cores)
    assert bundle.account["program"] is False
    assert bundle.suffixes == SUFFIXES


def test_a_deleted_executable_is_bundled_from_what_was_held_open(run, tmp_path):
    copy = tmp_path / "gone"
    shutil.copy(CRASH, copy)
    script = f"(sleep 1.5; rm {copy}; kill -SEGV $$) & exec {copy} sleep 60"
    _, bundle = run.crash("--", "sh", "-c", script)
    assert not copy.exists()
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "do_sleep" in bundle.backtrace(tmp_path / "u")


def test_a_replaced_executable_is_not_taken_for_the_one_that_ran(run, tmp_path):
    copy, other = tmp_path / "program", tmp_path / "other"
    shutil.copy(CRASH, copy)
    shutil.copy(BUILD / "corectl", other)
    init = run.start("--", "sh", "-c", f"{copy} sleep 60")
    time.sleep(1)
    other.rename(copy)
    subprocess.run(["pkill", "-SEGV", "-f", f"^{copy} sleep"], check=True)
    init.communicate(timeout=60)
    bundle, = bundles(run.cores)
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()


def test_a_truncated_core_is_used_and_called_truncated(run, without_gdb):
    limit = ["prlimit", "--core=204800:204800", "setpriv", "--bounding-set=-sys_resource"]
    result, bundle = run.crash("--", CRASH, "threads", "20", wrapper=limit, pid1=False,
                               env={"PATH": without_gdb})
    assert bundle.account["capture"]["truncated"] is True
    assert "truncated" in result.stderr
    assert bundle.core_entry().file_size < bundle.account["capture"]["expected_size"]


def test_no_core_still_gives_account_executable_and_libs(run):
    limit = ["prlimit", "--core=0:0", "setpriv", "--bounding-set=-sys_resource"]
    script = f"(sleep 3; kill -SEGV $$) & exec {CRASH} sleep 60"
    result, bundle = run.crash("--capture", "kernel", "--", "sh", "-c", script, wrapper=limit,
                               pid1=False)
    assert result.returncode == 139
    assert bundle.suffixes == {".crash.json", ".executable", ".libs.zip"}
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "limit" in result.stderr.split("left no core", 1)[1].splitlines()[0]
    assert "limit" in bundle.account["capture"]["no_core"]
    with zipfile.ZipFile(bundle.path(".libs.zip")) as libs:
        assert any("libc.so" in name for name in libs.namelist())


def test_a_program_that_was_replaced_since_the_last_look_is_not_made_up(run):
    """An entrypoint's exec whose program dies at once, without a core: nobody knows which it was."""
    limit = ["prlimit", "--core=0:0", "setpriv", "--bounding-set=-sys_resource"]
    script = f"sleep 3; exec {CRASH} segv"
    result, bundle = run.crash("--capture", "kernel", "--", "sh", "-c", script, wrapper=limit,
                               pid1=False)
    assert bundle.suffixes == {".crash.json"}
    assert bundle.account["exe"] is None and bundle.account["argv"] is None
    assert "executed another program after it was last looked at" in result.stderr


def test_a_program_that_was_replaced_since_the_last_look_is_taken_from_its_core(run, without_gdb):
    _, bundle = run.crash("--", "sh", "-c", f"sleep 3; exec {CRASH} segv", env={"PATH": without_gdb})
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert bundle.account["exe"] == str(CRASH)


def test_an_undumpable_program_is_named_as_the_reason(run):
    result, bundle = run.crash("--", CRASH, "nodump")
    assert ".core.zip" not in bundle.suffixes
    assert "dumpable" in bundle.account["capture"]["no_core"]


def test_a_read_only_directory_is_named_as_the_reason(run_for_all):
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    program = run_for_all.coreinit.parent / "crash"
    _, bundle = run_for_all.crash("--capture", "kernel", "--", program, "segv", wrapper=as_user,
                                  pid1=False, cwd="/usr")
    assert "/usr" in bundle.account["capture"]["no_core"]


def test_a_second_crash_of_the_same_second_gets_its_own_name(run):
    script = f"mkdir a b c; for d in a b c; do cd $d; {CRASH} orphan 0; cd ..; done; sleep 4"
    run("--", "sh", "-c", script, env={"RUN_ID": "same"})
    found = bundles(run.cores)
    assert len(found) == 3
    seconds = [b.account["time"][:19] for b in found]
    assert len(set(seconds)) < 3, "three crashes within two seconds share one"
    first = min(b.id for b in found if seconds.count(b.account["time"][:19]) > 1)
    assert first + "-2" in {b.id for b in found}


def test_a_crash_that_only_comes_to_light_with_the_programs_end_is_bundled(run):
    """The program never waited for its child; the zombie becomes coreinit's when the program ends."""
    script = "import os, time\nif os.fork() == 0: os.abort()\ntime.sleep(1)"
    result = run("--", "/usr/bin/python3", "-c", script)
    assert result.returncode == 0
    bundle, = bundles(run.cores)
    assert bundle.account["signal"]["name"] == "SIGABRT" and not bundle.account["program"]


# What happens when the collector fails.

def fake_corectl(tmp_path, script):
    path = tmp_path / "corectl"
    path.write_text("#!/bin/sh\ntrap '' TERM\n" + script)
    path.chmod(0o755)
    return {"COREINIT_CORECTL": path}


def test_without_corectl_it_says_where_the_core_lies(run, tmp_path):
    result = run("--", CRASH, "segv", env={"COREINIT_CORECTL": "/nonexistent/corectl"})
    assert result.returncode == 139
    assert "no corectl at /nonexistent/corectl" in result.stderr
    assert f"working directory {run.cwd}" in result.stderr and "core_pattern 'core'" in result.stderr
    assert (run.cwd / "core").exists()


@pytest.mark.parametrize("script, words", [
    ("kill -SEGV $$", "corectl was killed by SIGSEGV"),
    ("kill -KILL $$", "corectl was killed by SIGKILL"),
    ("exit 1", None),
])
def test_a_collector_that_dies_leaves_the_core_and_the_status(run, tmp_path, script, words):
    result = run("--", CRASH, "segv", env=fake_corectl(tmp_path, script))
    assert result.returncode == 139
    assert (run.cwd / "core").exists()
    assert words is None or words in result.stderr


def test_a_collector_that_hangs_is_killed_at_its_deadline(run, tmp_path):
    before = time.monotonic()
    result = run("--collect-timeout", "1", "--", CRASH, "segv",
                 env=fake_corectl(tmp_path, "trap '' TERM; sleep 60 & sleep 60"))
    assert result.returncode == 139
    assert 1 <= time.monotonic() - before < 20
    assert "corectl is killed over the crash of pid" in result.stderr
    assert "was killed by SIGKILL" not in result.stderr
    assert (run.cwd / "core").exists()


def test_asked_to_stop_while_collecting_it_says_so_and_a_second_signal_ends_it(run, tmp_path):
    marker = tmp_path / "collecting"
    init = run.start("--", CRASH, "segv", pid1=False,
                     env=fake_corectl(tmp_path, f"touch {marker}; sleep 60"))
    while not marker.exists():
        time.sleep(0.02)
    init.send_signal(signal.SIGUSR1)  # means nothing once the program is dead
    init.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert init.poll() is None
    init.send_signal(signal.SIGTERM)
    _, err = init.communicate(timeout=20)
    assert init.returncode == 139
    assert "asked to stop while a crash is collected" in err and "(30 s)" in err


def test_asked_to_stop_before_the_program_ended_the_collection_is_hurried(run, tmp_path):
    marker = tmp_path / "collecting"
    script = f"trap 'exit 0' TERM; {CRASH} orphan 0; while :; do sleep 0.05; done"
    init = run.start("--", "sh", "-c", script, pid1=False,
                     env={**fake_corectl(tmp_path, f"touch {marker}; sleep 60"),
                          "COREINIT_STOP_TIMEOUT": "3"})
    while not marker.exists():
        time.sleep(0.02)
    init.send_signal(signal.SIGTERM)
    _, err = init.communicate(timeout=20)
    assert init.returncode == 0
    assert "asked to stop while a crash is collected" in err
    assert "corectl is killed over the crash" in err


def test_a_crash_that_waits_is_collected_in_what_is_left_of_the_stop(run, tmp_path):
    marker = tmp_path / "collecting"
    init = run.start("--", "sh", "-c", f"{CRASH} orphan 0; sleep 0.3; kill -SEGV $$", pid1=False,
                     env=fake_corectl(tmp_path, f"rm -f core; echo x >> {marker}; sleep 2"))
    while not marker.exists():
        time.sleep(0.02)
    time.sleep(1)
    init.send_signal(signal.SIGTERM)
    _, err = init.communicate(timeout=20)
    assert init.returncode == 139
    assert marker.read_text() == "x\nx\n"


def test_the_programs_own_crash_goes_before_those_that_wait(run, tmp_path):
    log = tmp_path / "log"
    script = f"for i in 1 2 3 4 5; do {CRASH} orphan 0; done; sleep 0.5; kill -SEGV $$"
    result = run("--", "sh", "-c", script,
                 env=fake_corectl(tmp_path, f"rm -f core; echo x >> {log}; sleep 1"))
    assert result.returncode == 139
    lost, = [line for line in result.stderr.splitlines() if "is not collected" in line]
    program, = [line for line in result.stderr.splitlines() if "the program" in line]
    assert program.split("(pid ")[1].split(")")[0] != lost.split("pid ")[1].split(" ")[0]
    assert log.read_text() == "x\n" * 5


def test_a_corectl_that_fails_is_told(run, tmp_path):
    result = run("--", CRASH, "segv", env=fake_corectl(tmp_path, "exit 3"))
    assert "corectl failed with status 3 over the crash of pid" in result.stderr


def test_orphans_are_reaped_while_the_collector_works(run, tmp_path):
    script = f"{CRASH} orphan; sleep 0.5; {CRASH} orphans 2000; sleep 0.3; " \
             "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    result = run("--", "sh", "-c", script, env=fake_corectl(tmp_path, "sleep 3"))
    assert result.stdout.strip() == "0"


def test_more_crashes_than_can_wait_are_told(run, tmp_path):
    script = f"for i in 1 2 3 4 5 6 7 8; do {CRASH} orphan 0; done; sleep 2"
    result = run("--", "sh", "-c", script, env=fake_corectl(tmp_path, "sleep 1"))
    assert result.returncode == 0
    assert "is not collected: 4 others wait already" in result.stderr


@pytest.mark.parametrize("arguments", [["collect"], ["collect", "--record-fd"],
                                       ["collect", "--record-fd", "x"],
                                       ["collect", "--record-fd", "99"],
                                       ["collect", "--record-fd", "0"], ["nonsense"], []])
def test_corectl_misused_says_one_line(arguments, tmp_path):
    with open("/dev/urandom", "rb") as garbage:
        result = subprocess.run([CORECTL, *arguments], stdin=garbage, capture_output=True, text=True,
                                timeout=20)
    assert result.returncode == 1
    assert result.stderr.startswith("coreinit: error: ")


@pytest.mark.parametrize("plant", ["symlink", "fifo", "directory"])
def test_planted_files_are_not_taken_for_a_core(run, tmp_path, plant):
    """Whatever lies at the core's name, nothing is followed, and nothing hangs."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    place = run.cwd / "core"
    {"symlink": lambda: place.symlink_to(victim), "fifo": lambda: os.mkfifo(place),
     "directory": place.mkdir}[plant]()
    result = run("--", CRASH, "segv")
    assert result.returncode == 139
    assert victim.read_bytes() == b"secret"
    bundle, = bundles(run.cores)
    if ".core.zip" in bundle.suffixes:
        assert bundle.core_entry().file_size > 10000


def test_a_cores_dir_that_cannot_be_is_told_and_the_core_stays(run):
    result = run("--cores-dir", "/proc/none", "--", CRASH, "segv")
    assert result.returncode == 139
    assert "cannot keep the bundle in /proc/none" in result.stderr
    assert "there is no place for a bundle" in result.stderr
    assert (run.cwd / "core").exists()


def test_a_cores_dir_that_is_a_link_is_told_before_the_crash(run):
    """corectl doesn't follow it."""
    run.cores.symlink_to(run.cwd)
    result = run("--", "true")
    assert f"a crash will leave no bundle: {run.cores} can't be written" in result.stderr


@pytest.mark.parametrize("size", ["16k", "400k"])
def test_a_full_cores_dir_keeps_the_kernels_core(run, without_gdb, size):
    """Without a bucket there is no other place: the core is where the kernel left it."""
    run.cores.mkdir()
    script = f"mount -t tmpfs -o size={size} none {run.cores} && exec {COREINIT} -- {CRASH} threads 8"
    result = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c",
                             script + f"; ls {run.cores}"],
                            cwd=run.cwd, env={**run.environment(), "PATH": without_gdb},
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 139
    assert "No space left on device" in result.stderr
    assert "the core stays at" in result.stderr and (run.cwd / "core").exists()
