"""While a process is held at its fatal signal: what else may happen, and who waits for it."""

import os
import re
import signal
import subprocess
import time

import pytest

from bundle import bundles
from conftest import AS_PID_1, BUILD, CORECTL, CRASH, SANITIZED, pid_of_init
from tracing import BY_PTRACE, TRACED, UNLIMITED, children_of, functions, wait_for

pytest_plugins = ["tracing_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")


def start(run, gate, *command, env=None, **kwargs):
    """Runs a command until a process of it is held. Returns the init and its pid."""
    init = run.start(*BY_PTRACE, *command, env={**gate.env, **(env or {})}, **kwargs)
    gate.wait()
    return init, pid_of_init(init)


def program_of(pid):
    """The program among the init's children; the collector is the other."""
    return min(children_of(pid))


def finish(init, gate):
    gate.open()
    out, err = init.communicate(timeout=60)
    return out, err


def test_a_held_process_stands_still_and_dies_of_its_signal(run, gate):
    init, pid = start(run, gate, CRASH, "threads", "5")
    program = program_of(pid)
    with open(f"/proc/{program}/status") as status:
        assert "State:\tt (tracing stop)" in status.read()
    time.sleep(0.3)
    assert len(os.listdir(f"/proc/{program}/task")) == 6
    finish(init, gate)
    assert init.returncode == 139
    bundle, = bundles(run.cores)
    assert functions(bundle)[0] == "crash_here"


def test_killed_while_held_it_leaves_what_there_is(run, gate):
    init, pid = start(run, gate, CRASH, "threads", "5")
    os.kill(program_of(pid), signal.SIGKILL)
    time.sleep(0.2)
    finish(init, gate)
    assert init.returncode == 137
    bundle, = bundles(run.cores)
    assert bundle.account["signal"]["name"] in ("SIGSEGV", "SIGKILL")
    assert bundle.account["exe"] == str(CRASH)


def test_other_signals_to_a_held_process_change_nothing(run, gate):
    init, pid = start(run, gate, CRASH, "segv")
    for signo in (signal.SIGSTOP, signal.SIGCONT, signal.SIGUSR1, signal.SIGTERM, signal.SIGSTOP):
        os.kill(program_of(pid), signo)
        time.sleep(0.02)
    finish(init, gate)
    assert init.returncode == 139
    bundle, = bundles(run.cores)
    assert bundle.account["signal"]["name"] == "SIGSEGV" and ".core.zip" in bundle.suffixes


def test_asked_to_stop_while_a_process_is_held_the_collection_goes_on(run, gate):
    init, pid = start(run, gate, CRASH, "segv")
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    assert init.poll() is None
    finish(init, gate)
    assert init.returncode == 139
    bundle, = bundles(run.cores)
    assert ".core.zip" in bundle.suffixes


def test_asked_to_stop_while_a_process_is_held_it_ends_before_the_runtime_kills_it(run, gate):
    init, pid = start(run, gate, CRASH, "segv", env={"COREINIT_STOP_TIMEOUT": "3"})
    os.kill(pid, signal.SIGTERM)
    before = time.monotonic()
    init.communicate(timeout=20)
    assert time.monotonic() - before < 10
    assert init.returncode == 139


def test_the_second_signal_ends_it_at_once(run, gate):
    init, pid = start(run, gate, CRASH, "segv")
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.2)
    os.kill(pid, signal.SIGTERM)
    before = time.monotonic()
    init.communicate(timeout=20)
    assert time.monotonic() - before < 10
    assert init.returncode == 139


def test_a_collector_that_hangs_holds_nobody_longer_than_its_deadline(run, gate):
    before = time.monotonic()
    result = run("--collect-timeout", "1", *BY_PTRACE, CRASH, "segv", env=gate.env)
    assert result.returncode == 139
    assert 1 <= time.monotonic() - before < 20


@pytest.mark.parametrize("script", ["exit 1", "kill -SEGV $$", "kill -KILL $$"])
def test_a_collector_that_dies_holds_nobody(run, tmp_path, script):
    corectl = tmp_path / "corectl"
    corectl.write_text("#!/bin/sh\n" + script)
    corectl.chmod(0o755)
    assert run(*BY_PTRACE, CRASH, "segv", env={"COREINIT_CORECTL": corectl}).returncode == 139
    result = run(*BY_PTRACE, TRACED, "workers", "11", "6", env={"COREINIT_CORECTL": corectl})
    assert result.returncode == 0
    assert result.stdout == "worker killed by 11\nworker killed by 6\n"


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime sets a core limit of 0")
def test_where_the_collector_gets_no_core_the_kernel_may_make_one(run, tmp_path):
    """Two cores are one too many, but none is worse."""
    corectl = tmp_path / "corectl"
    corectl.write_text("#!/bin/sh\nkill -KILL $$")
    corectl.chmod(0o755)
    run(*BY_PTRACE, CRASH, "segv", wrapper=UNLIMITED, env={"COREINIT_CORECTL": corectl})
    core, = run.cwd.iterdir()
    assert core.stat().st_size > 10000


def test_without_a_collector_nobody_is_held(run):
    result = run(*BY_PTRACE, CRASH, "segv", env={"COREINIT_CORECTL": "/nonexistent/corectl"})
    assert result.returncode == 139


def test_others_run_on_while_one_is_held(run, gate):
    script = (f"{CRASH} segv & sleep 0.5; for i in 1 2 3; do /bin/echo $i; done;"
              " wait $!; echo $?; exit 3")
    init, _ = start(run, gate, "sh", "-c", script)
    lines = [init.stdout.readline() for _ in range(3)]
    assert lines == ["1\n", "2\n", "3\n"]
    assert init.poll() is None
    out, _ = finish(init, gate)
    assert (out, init.returncode) == ("139\n", 3)


def test_orphans_are_reaped_while_one_is_held(run, gate):
    script = (f"{CRASH} segv & sleep 0.5; {CRASH} orphans 1000;"
              " while grep -q '^State:.Z' /proc/[0-9]*/status; do sleep 0.1; done;"
              " echo reaped; wait $!; echo $?")
    init, _ = start(run, gate, "sh", "-c", script)
    assert init.stdout.readline() == "reaped\n"
    out, _ = finish(init, gate)
    assert out == "139\n"


def test_a_program_that_ends_while_its_worker_is_held_waits_for_the_bundle(run, gate):
    init, pid = start(run, gate, "sh", "-c", f"{CRASH} segv & sleep 0.6; exit 4")
    time.sleep(0.8)
    assert init.poll() is None
    finish(init, gate)
    assert init.returncode == 4
    bundle, = bundles(run.cores)
    assert ".core.zip" in bundle.suffixes and bundle.account["program"] is False


def test_a_parent_that_dies_while_its_worker_is_held_takes_nothing_along(run, gate):
    script = f"sh -c '{CRASH} segv & wait' & sleep 0.6; kill -KILL $!; wait $!; echo $?; sleep 2"
    init, _ = start(run, gate, "sh", "-c", script)
    assert init.stdout.readline() == "137\n"
    finish(init, gate)
    assert init.returncode == 0
    bundle, = bundles(run.cores)
    assert ".core.zip" in bundle.suffixes


def test_more_crashes_at_once_than_are_collected_have_their_status_all_the_same(run, tmp_path):
    corectl = tmp_path / "corectl"
    corectl.write_text("#!/bin/sh\nsleep 0.3\n")
    corectl.chmod(0o755)
    script = (f"for i in $(seq 15); do {CRASH} abort & pids=\"$pids $!\"; done;"
              " for pid in $pids; do wait $pid; echo $?; done")
    result = run(*BY_PTRACE, "sh", "-c", script, env={"COREINIT_CORECTL": corectl})
    assert result.stdout == 15 * "134\n"


def test_a_worker_that_crashes_again_and_again_is_bundled_each_time(run):
    result = run(*BY_PTRACE, TRACED, "workers-abort", "10")
    assert result.stdout == 10 * "worker killed by 6\n"
    assert len(bundles(run.cores)) == 10


# PID 1 itself.

SCENE = (f"trap : USR2; kill -USR2 1; {CRASH} orphans 50; {CRASH} segv; {TRACED} many-threads 50;"
         f" {TRACED} stopped; {TRACED} exec-from-thread busy; {TRACED} ptrace-parent;"
         f" {CRASH} threads 20; sh -c '{CRASH} abort & '; sleep 2; exit 3")


@pytest.mark.skipif(SANITIZED, reason="valgrind and the sanitizers exclude each other")
def test_valgrind_finds_nothing_wrong_with_a_tracing_pid_1(run):
    result = subprocess.run([*AS_PID_1, "valgrind", "--quiet", "--vgdb=no", "--error-exitcode=99",
                             "--leak-check=full", "--trace-children=no",
                             "--child-silent-after-fork=yes",
                             BUILD / "tests/coreinit-dynamic", *BY_PTRACE, "sh", "-c", SCENE],
                            cwd=run.cwd, env=run.environment(COREINIT_CORECTL=CORECTL),
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 3, result.stderr
    assert "==" not in result.stderr
    assert len(bundles(run.cores)) == 3
    assert not list(run.cwd.iterdir()), "the kernel wrote a second core"


def descriptors(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def test_no_descriptor_of_a_crash_stays_open(run, tmp_path):
    go = tmp_path / "go"
    script = (f"echo ready; read line; {TRACED} workers 6 11; {CRASH} orphans 100; echo done;"
              f" while [ ! -e {go} ]; do sleep 0.05; done")
    init = run.start(*BY_PTRACE, "sh", "-c", script, stdin=subprocess.PIPE,
                     stderr=subprocess.DEVNULL)
    assert init.stdout.readline() == "ready\n"
    pid = pid_of_init(init)
    before = descriptors(pid)
    init.stdin.write("go\n")
    init.stdin.flush()
    while init.stdout.readline() != "done\n":
        pass
    wait_for(lambda: len(descriptors(pid)) <= len(before), descriptors(pid))
    go.touch()
    init.communicate(timeout=20)
    assert len(bundles(run.cores)) == 2


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime allocates")
def test_nothing_is_allocated_by_a_tracing_pid_1(run, tmp_path):
    trace = tmp_path / "trace"
    result = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'exec "$@"',
                             "sh", "strace", "-D", "-o", trace, run.coreinit, *BY_PTRACE,
                             "sh", "-c", SCENE],
                            cwd=run.cwd, env=run.environment(), capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 3, result.stderr
    calls = trace.read_text().splitlines()
    program = max(i for i, line in enumerate(calls) if line.startswith(("clone", "fork", "vfork"))
                  and "ptrace(PTRACE_SEIZE" in "".join(calls[i:i + 40]))
    memory = re.compile(r"^(brk|mmap|mmap2|mremap)\(")
    assert any(memory.match(line) for line in calls[:program])
    assert [line for line in calls[program:] if memory.match(line)] == []
