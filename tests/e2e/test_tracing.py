"""A traced program behaves as an untraced one: each is run both ways and reports the same."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from bundle import bundles
from conftest import COREINIT, CRASH, pid_of_init
from terminal import Terminal
from tracing import (AS_IN_DOCKER, AS_USER, BY_PTRACE, LEAKY, TRACED, UNTRACED, children_of,
                     no_crash, wait_for)

SIGNALS = ["caught", "ignored", "ignored-blocked", "queued", "waited", "signalfd", "flags",
           "fault-info", "timers", "from-outside", "storm 5000"]
JOBS = ["stopped", "killed-while-stopped", "stop-storm 300", "sigchld", "no-stop-told",
        "reaped-by-itself", "group"]
PROCESSES = ["children", "sibling", "waits", "exec-chain 30", "exec-from-thread idle",
             "exec-from-thread busy", "exec-from-thread leader-gone", "exec-race 20", "daemons",
             "subreaper", "parent-death", "sessions", "kill-all", "many-children 2000", "self"]
THREADS = ["many-threads 3000", "leader-gone exit", "leader-gone return", "leader-gone kill",
           "leader-leaves", "thread-exits 9", "thread-signals", "process-signals"]
FILTERS = ["seccomp-errno", "seccomp-trace", "seccomp-trap", "seccomp-kill-thread",
           "seccomp-tsync"]
DEBUGGERS = ["ptrace-traceme", "ptrace-seize", "ptrace-attach", "ptrace-busy 60", "ptrace-refused",
             "ptrace-parent", "ptrace-untraced"]


@pytest.mark.parametrize("mode", [*SIGNALS, *JOBS, *PROCESSES, *THREADS, *FILTERS, *DEBUGGERS])
def test_it_behaves_as_untraced(run, mode):
    no_crash(run, TRACED, *mode.split())


@pytest.mark.parametrize("mode, says", [("seccomp-strict", "it may not uname exited 8"),
                                        ("seccomp-notify", "Device or resource busy")])
def test_a_filter_that_bears_no_other_is_refused_to_the_program(run, mode, says):
    """README: coreinit's own, by which it learns of the program's ptrace(2), is there already."""
    result = run(*BY_PTRACE, TRACED, mode)
    assert says in result.stdout + result.stderr
    assert says not in run(*UNTRACED, TRACED, mode).stdout


def test_system_calls_are_interrupted_by_the_same_signals_but_for_ignored_ones(run):
    """ptrace(2), BUGS: these wake a traced process, and calls that don't restart say so."""
    untraced = run(*UNTRACED, TRACED, "interrupted").stdout.splitlines()
    traced = run(*BY_PTRACE, TRACED, "interrupted").stdout.splitlines()
    assert len(traced) == len(untraced) > 50
    for was, now in zip(untraced, traced):
        call, _, result = now.partition(": ")
        assert was == now or (call.endswith(", ignored") and "EINTR" in result), (was, now)


@pytest.mark.parametrize("mode", ["caught", "stopped", "children", "daemons", "many-threads 300",
                                  "seccomp-errno", *DEBUGGERS])
@pytest.mark.parametrize("as_whom", [AS_USER, AS_IN_DOCKER], ids=["user", "docker"])
def test_it_behaves_as_untraced_without_privileges(run_for_all, mode, as_whom):
    program = run_for_all.coreinit.parent / "traced"
    shutil.copy(TRACED, program)
    no_crash(run_for_all, program, *mode.split(), wrapper=as_whom, pid1=False)


def test_a_shells_ten_thousand_children_are_counted_right(run):
    script = """
        i=0; right=0
        while [ $i -lt 10000 ]; do
            (exit $((i % 100)))
            [ $? = $((i % 100)) ] && right=$((right + 1))
            i=$((i + 1))
        done
        echo $right; exit 12"""
    result = no_crash(run, "sh", "-c", script)
    assert (result.stdout, result.returncode) == ("10000\n", 12)


def test_a_shells_pipelines_and_programs_are_run_right(run):
    script = """
        for i in $(seq 200); do
            seq $i | grep -c . | tr -d '\\n'
            /bin/false || echo -n .
        done"""
    result = no_crash(run, "bash", "-c", script)
    assert result.stdout == "".join(f"{i}." for i in range(1, 201))


# A terminal.

def comm(pid):
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm") as name:
            return name.read().strip()
    return None


@pytest.mark.parametrize("capture", ["off", "ptrace"])
def test_job_control_works_in_a_terminal(run, capture):
    terminal = Terminal(COREINIT, "-q", "--capture", capture, "--", "bash", "--norc", "-i",
                        env=run.environment(PS1="$ "))
    terminal.type("echo ready $((40 + 2))\n")
    terminal.expect("ready 42")

    def foreground(*commands):
        """The terminal is the job's, all processes of which have become these programs."""
        shell = children_of(terminal.pid)[0]
        group = os.tcgetpgrp(terminal.fd)
        return sorted(name for pid, name in ((pid, comm(pid)) for pid in children_of(shell))
                      if name and os.getpgid(pid) == group) == sorted(commands)

    def run_job(line, *commands):
        terminal.type(line + "\n")
        wait_for(lambda: foreground(*commands), line)

    run_job("sleep 61", "sleep")
    terminal.type("\x1a")
    terminal.expect(r"Stopped +sleep 61")
    terminal.type("bg\n")
    terminal.expect(r"sleep 61 &")
    terminal.type("jobs\n")
    terminal.expect(r"Running +sleep 61")
    terminal.type("kill -STOP %1; sleep 0.2; jobs\n")
    terminal.expect(r"Stopped +sleep 61")
    run_job("fg", "sleep")
    terminal.type("\x03")
    terminal.type("echo status $?\n")
    terminal.expect("status 130")

    # A reader in the background is stopped for the terminal isn't its own.
    terminal.type("cat &\n")
    terminal.type("sleep 0.2; jobs\n")
    terminal.expect(r"Stopped +cat")
    run_job("fg", "cat")
    terminal.type("hello\n")
    terminal.expect("hello\r\nhello")
    terminal.type("\x04echo status $?\n")
    terminal.expect("status 0")

    # A pipeline is one job, and the terminal's quit character a core signal for all of it.
    run_job("sleep 62 | sleep 63", "sleep", "sleep")
    terminal.type("\x1a")
    terminal.expect(r"Stopped +sleep 62 \| sleep 63")
    run_job("fg", "sleep", "sleep")
    terminal.type("\x1c")
    terminal.type("echo status $?\n")
    terminal.expect("status 131")
    terminal.type("exit 4\n")
    assert terminal.status() == 4
    assert len(bundles(run.cores)) == (2 if capture == "ptrace" else 0)


# From outside.

def runs(pid):
    """How often it was scheduled, and for how long."""
    with open(f"/proc/{pid}/schedstat") as stat:
        return stat.read()


@pytest.mark.parametrize("capture", [UNTRACED, BY_PTRACE], ids=["off", "ptrace"])
@pytest.mark.parametrize("through_init", [False, True])
def test_a_program_is_stopped_and_continued_from_outside(run, capture, through_init):
    init = run.start(*capture, TRACED, "ticks", stderr=subprocess.DEVNULL)
    assert init.stdout.readline() == "tick\n"
    pid = pid_of_init(init)
    program, = children_of(pid)
    whom, stop = (pid, signal.SIGTSTP) if through_init else (program, signal.SIGSTOP)

    def stands():
        before = runs(program)
        time.sleep(0.05)
        return runs(program) == before

    for _ in range(3):
        os.kill(whom, stop)
        wait_for(stands, "it goes on")
        os.kill(whom, signal.SIGCONT)
        wait_for(lambda: not stands(), "it stands still")
    os.kill(whom, stop)
    wait_for(stands, "it goes on")
    os.kill(program, signal.SIGTERM)
    time.sleep(0.1)
    assert init.poll() is None, "what a stopped process is sent waits"
    os.kill(whom, signal.SIGCONT)
    init.communicate(timeout=20)
    assert init.returncode == 143


# Programs that trace.

def run_strace(run, *capture):
    trace = run.cwd / "trace"
    result = run(*capture, "strace", "-f", "-e", "trace=execve", "-o", trace, "sh", "-c",
                 "for i in 1 2 3; do /bin/echo $i; done; (exit 3); kill -TERM $$")
    lines = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    trace.unlink()
    differs = r"0x\w+|si_pid=\d+|si_[us]time=\d+( /\* [\d.]+ s \*/)?"
    return result.stdout, result.returncode, [re.sub(differs, "", line) for line in lines]


def test_strace_works_below_a_tracer(run):
    untraced = run_strace(run, *UNTRACED)
    assert untraced[0] == "1\n2\n3\n" and untraced[1] == 143 and len(untraced[2]) > 8
    assert run_strace(run, *BY_PTRACE) == untraced


GDB = ["gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off"]


def test_gdb_works_below_a_tracer(run):
    for capture in (UNTRACED, BY_PTRACE):
        result = run(*capture, *GDB, "-ex", "break crash_here", "-ex", "run segv",
                     "-ex", "continue", "-ex", "bt 2", "-ex", "kill", CRASH)
        assert result.returncode == 0, result.stderr
        assert "Breakpoint 1, crash_here" in result.stdout
        assert "SIGSEGV" in result.stdout and "#1 " in result.stdout
        result = run(*capture, *GDB, "-ex", "run threads 20", "-ex", "info threads", "-ex", "kill",
                     CRASH)
        assert len(re.findall(r"^[* ] +\d+ +Thread ", result.stdout, re.M)) == 21, result.stdout
    assert not run.cores.exists(), "the debugger is the one to know"


def test_gdb_attaches_to_another_process_below_a_tracer(run):
    script = f"""
        {CRASH} sleep 60 & sleep 0.3
        gdb -nx -batch -q -iex 'set debuginfod enabled off' -ex bt -p $! | grep -c 'in do_sleep'
        kill -TERM $!; wait $!; echo $?"""
    assert no_crash(run, "sh", "-c", script).stdout == "1\n143\n"


def test_a_tracee_that_crashes_is_its_tracers(run):
    no_crash(run, TRACED, "ptrace-tracee-crash")


@pytest.mark.parametrize("what, status", [("leak", 1), ("nothing", 0)])
@pytest.mark.parametrize("as_whom", [(), AS_USER], ids=["root", "user"])
def test_the_leak_checker_works_below_a_tracer(run_for_all, what, status, as_whom):
    """It traces all threads of its process from a child that nobody is told of (CLONE_UNTRACED)."""
    program = run_for_all.coreinit.parent / "leaky"
    shutil.copy(LEAKY, program)
    result = run_for_all(*BY_PTRACE, program, what, wrapper=as_whom, pid1=False,
                         env={"ASAN_OPTIONS": "detect_leaks=1"})
    assert result.returncode == status, result.stderr
    assert ("100 byte(s) leaked" in result.stderr) == (what == "leak")
