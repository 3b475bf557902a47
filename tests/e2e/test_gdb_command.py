"""corectl gdb: coreinit steps aside for a debugger, and is the tracer again afterwards."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time

import pytest

from bundle import bundles
from conftest import BUILD, CORECTL, CRASH, clean_environment, pid_of_init
from terminal import Terminal
from tracing import AS_IN_DOCKER, AS_USER, BY_PTRACE, children_of, wait_for

STEADY = BUILD / "tests/steady"
COUNTER = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
SESSION = ("--", "-batch", "-ex", "bt")


def program_of(coreinit):
    def executed():
        for pid in children_of(coreinit):
            with contextlib.suppress(FileNotFoundError):
                if "coreinit" not in os.readlink(f"/proc/{pid}/exe"):
                    return pid

    return wait_for(executed, "the program isn't started")


def start(run, *command, capture=BY_PTRACE, wrapper=()):
    """Returns the init and its program's pid; not as PID 1, so that its pids are ours."""
    init = run.start(*capture, *command, pid1=False, wrapper=wrapper)
    wait_for(lambda: "coreinit" in os.readlink(f"/proc/{init.pid}/exe"), "coreinit isn't started")
    return init, program_of(init.pid)


def gdb(program, *arguments, wrapper=(), corectl=CORECTL, **kwargs):
    return subprocess.run([*wrapper, str(corectl), "gdb", str(program), *map(str, arguments)],
                          text=True, env=clean_environment(), capture_output=True, timeout=60,
                          **kwargs)


def status_of(pid):
    with open(f"/proc/{pid}/status") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def is_traced_by(tracer, pid):
    """All its threads that are there for a look."""
    tracers = set()
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            tracers.add(status_of(tid)["TracerPid"])
    return tracers == {str(tracer)}


def lasting_descriptors(pid):
    """Without those of a look that is under way."""
    looks = [set(os.listdir(f"/proc/{pid}/fd")) for _ in range(20) if not time.sleep(0.02)]
    return set.intersection(*looks)


def wait_until_taken_back(init, pid):
    wait_for(lambda: is_traced_by(init.pid, pid), "coreinit doesn't trace it again")


def end(init, program, signo=signal.SIGSEGV):
    os.kill(program, signo)
    out, err = init.communicate(timeout=60)
    assert init.returncode == 128 + signo, err
    return out, err


def assert_goes_on(init):
    """The counter counts, without a gap."""
    first = int(init.stdout.readline())
    for number in range(first + 1, first + 21):
        assert int(init.stdout.readline()) == number


def debugged_by_hand(init, program, *commands):
    """A gdb at its prompt, on a terminal as people have it."""
    terminal = Terminal(str(CORECTL), "gdb", str(program), "--", "-nx", "-q",
                        "-iex", "set pagination off", "-iex", "set confirm off",
                        *(word for command in commands for word in ("-ex", command)))
    terminal.expect(r"\(gdb\) ")
    assert status_of(program)["TracerPid"] == str(terminal.pid)
    return terminal


@pytest.mark.parametrize("as_whom", [(), AS_USER, AS_IN_DOCKER], ids=["root", "user", "docker"])
def test_gdb_sees_the_program_and_a_later_crash_is_captured(run_for_all, as_whom):
    run = run_for_all
    init, program = start(run, *COUNTER, wrapper=as_whom)
    result = gdb(program, *SESSION, wrapper=as_whom, corectl=run.coreinit.parent / "corectl")
    assert result.returncode == 0, result.stderr
    assert "#0" in result.stdout and "detached" in result.stdout
    assert_goes_on(init)
    wait_until_taken_back(init, program)
    _, err = end(init, program)
    bundle, = bundles(run.cores)
    assert bundle.account["capture"]["mode"] == "ptrace" and ".core.zip" in bundle.suffixes
    assert re.search(f"pid {program} is lent to .*\n.*pid {program} is traced by coreinit again", err)


def test_in_a_container_the_program_is_found_by_itself(run):
    init = run.start(*BY_PTRACE, *COUNTER)
    coreinit = pid_of_init(init)
    program = program_of(coreinit)
    descriptors = []
    for _ in range(3):
        result = subprocess.run(["nsenter", f"--target={coreinit}", "--pid", "--mount", CORECTL,
                                 "gdb", *SESSION], text=True, capture_output=True, timeout=60)
        assert result.returncode == 0 and "#0" in result.stdout, result.stderr
        wait_for(lambda: is_traced_by(coreinit, program), "coreinit doesn't trace it again")
        descriptors.append(lasting_descriptors(coreinit))
    assert descriptors[1] == descriptors[0] == descriptors[2]
    end(init, program)
    assert len(bundles(run.cores)) == 1


def test_from_outside_of_the_pid_namespace_it_says_where_to_be(run):
    init = run.start(*BY_PTRACE, *COUNTER)
    program = program_of(pid_of_init(init))
    result = gdb(program, *SESSION)
    assert result.returncode == 1
    assert "pid namespace" in result.stderr and "docker exec" in result.stderr
    end(init, program, signal.SIGKILL)


def test_a_program_that_nobody_traces_is_debugged_as_ever(run):
    init, program = start(run, *COUNTER, capture=("--capture", "kernel", "--"))
    result = gdb(program, *SESSION)
    assert result.returncode == 0 and "#0" in result.stdout, result.stderr
    assert_goes_on(init)
    end(init, program, signal.SIGKILL)


def test_a_prompt_for_hours_and_quit(run):
    init, program = start(run, *COUNTER)
    terminal = debugged_by_hand(init, program)
    terminal.type("info inferiors\n")
    terminal.expect(f"process {program}")
    terminal.type("continue\n")
    time.sleep(0.3)
    terminal.type("\x03")
    terminal.expect("SIGINT")
    terminal.expect(r"\(gdb\) ")
    terminal.type("quit\n")
    assert terminal.status() == 0
    wait_until_taken_back(init, program)
    assert_goes_on(init)
    end(init, program)
    assert len(bundles(run.cores)) == 1


@pytest.mark.parametrize("is_running", [True, False])
def test_killed_at_its_prompt_gdb_leaves_a_running_program(run, is_running):
    init, program = start(run, *COUNTER)
    terminal = debugged_by_hand(init, program)
    if is_running:
        terminal.type("continue\n")
        time.sleep(0.2)
    os.kill(terminal.pid, signal.SIGKILL)
    assert terminal.status() == -signal.SIGKILL
    wait_until_taken_back(init, program)
    assert_goes_on(init)
    end(init, program)
    assert len(bundles(run.cores)) == 1


def test_killed_at_any_moment_it_leaves_a_running_program(run):
    init, program = start(run, *COUNTER)
    for tenths in range(30):
        process = subprocess.Popen([CORECTL, "gdb", str(program), *SESSION],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(tenths * 0.004)
        process.kill()
        process.wait()
    wait_until_taken_back(init, program)
    assert_goes_on(init)
    end(init, program)
    assert len(bundles(run.cores)) == 1


@pytest.mark.parametrize("capture", [BY_PTRACE, ("--capture", "kernel", "--")],
                         ids=["ptrace", "kernel"])
def test_killed_while_it_attaches_to_many_threads_it_leaves_them_running(run, capture):
    """It stops each by a signal, which is there yet when it is gone."""
    init, program = start(run, STEADY, "nanosleep", "200", capture=capture)
    for n in range(12):
        process = subprocess.Popen([CORECTL, "gdb", str(program), "--", "-nx", "-batch"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: status_of(program)["TracerPid"] == str(process.pid), "", timeout=5)
        time.sleep(n * 0.0005)
        process.kill()
        process.wait()
        time.sleep(0.7)
        assert status_of(program)["State"][0] not in "Tt", n
    end(init, program, signal.SIGKILL)


def test_what_was_stopped_before_gdb_is_stopped_after_it(run):
    init, program = start(run, *COUNTER)
    os.kill(program, signal.SIGSTOP)
    terminal = debugged_by_hand(init, program)
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.status()
    wait_until_taken_back(init, program)
    time.sleep(1)
    assert status_of(program)["State"][0] in "Tt"
    os.kill(program, signal.SIGCONT)
    assert_goes_on(init)
    end(init, program, signal.SIGKILL)


def test_a_crash_under_gdb_is_gdbs_to_show(run):
    init, program = start(run, *COUNTER)
    terminal = debugged_by_hand(init, program)
    terminal.type("continue\n")
    time.sleep(0.2)
    os.kill(program, signal.SIGSEGV)
    terminal.expect("SIGSEGV")
    terminal.expect(r"\(gdb\) ")
    terminal.type("continue\n")
    terminal.expect("terminated with signal SIGSEGV")
    terminal.type("quit\n")
    terminal.status()
    _, err = init.communicate(timeout=60)
    assert init.returncode == 128 + signal.SIGSEGV
    assert f"(pid {program}), was killed by SIGSEGV" in err
    assert len(bundles(run.cores)) == 1, "with the kernel's core where there is one"


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_that_ends_under_gdb_has_ended(run, signo):
    init, program = start(run, *COUNTER)
    terminal = debugged_by_hand(init, program)
    terminal.type("continue\n")
    time.sleep(0.2)
    os.kill(program, signo)
    if signo == signal.SIGTERM:
        terminal.expect("SIGTERM")
        terminal.type("continue\n")
    terminal.expect("terminated")
    terminal.type("quit\n")
    terminal.status()
    init.communicate(timeout=60)
    assert init.returncode == 128 + signo


def test_what_was_started_meanwhile_is_traced_afterwards(run):
    """A worker that forks while gdb has its parent, and one of another program."""
    init = run.start(*BY_PTRACE, "sh", "-c",
                     f"read line; sleep 600 & {CRASH} sleep 600 & echo started; wait",
                     pid1=False, stdin=subprocess.PIPE)
    program = program_of(init.pid)
    terminal = debugged_by_hand(init, program, "continue &")
    init.stdin.write("\n")
    init.stdin.flush()
    assert init.stdout.readline() == "started\n"
    workers = wait_for(lambda: len(children_of(program)) == 2 and children_of(program), "none")
    terminal.type("\x04")
    terminal.status()
    for pid in (program, *workers):
        wait_until_taken_back(init, pid)
    os.kill(workers[1], signal.SIGSEGV)
    os.kill(workers[0], signal.SIGKILL)
    init.communicate(timeout=60)
    bundle, = bundles(run.cores)
    assert bundle.account["exe"] == str(CRASH)


def ask(coreinit, kind, pid):
    """As src/trace/request.h has it."""
    value = ctypes.c_void_p((0x636f7200 | kind) << 32 | pid)
    assert ctypes.CDLL(None).sigqueue(coreinit, signal.SIGRTMAX - 1, value) == 0


@pytest.mark.parametrize("command", [("sh", "-c", "while :; do /bin/true; done"),
                                     (STEADY, "threads", "3", "children", "signals")],
                         ids=["vfork", "threads"])
def test_a_program_that_is_never_still_is_lent_at_once(run, command):
    """A thread that waits for a vfork child stops only once that goes on, which is coreinit's to see."""
    init, program = start(run, *command)
    for _ in range(100):
        ask(init.pid, 1, program)
        wait_for(lambda: is_traced_by(0, program), "it isn't let go", timeout=1)
        ask(init.pid, 2, program)
        wait_until_taken_back(init, program)
    init.stdout.close()
    os.kill(program, signal.SIGSEGV)
    init.stderr.read()
    assert init.wait(timeout=60) == 128 + signal.SIGSEGV
    assert ".core.zip" in bundles(run.cores)[0].suffixes


def test_a_second_debugger_is_told_who_was_first(run):
    init, program = start(run, *COUNTER)
    terminal = debugged_by_hand(init, program)
    result = gdb(program, *SESSION)
    assert result.returncode == 1
    assert f"traced by gdb (pid {terminal.pid})" in result.stderr
    terminal.type("quit\n")
    terminal.status()
    wait_until_taken_back(init, program)
    end(init, program, signal.SIGKILL)


def test_another_user_is_refused(run_for_all):
    run = run_for_all
    init, program = start(run, *COUNTER)
    result = gdb(program, *SESSION, wrapper=AS_USER, corectl=run.coreinit.parent / "corectl")
    assert result.returncode == 1 and "be root, or its user" in result.stderr
    assert is_traced_by(init.pid, program)
    end(init, program, signal.SIGKILL)


def test_a_held_process_is_not_lent(run, tmp_path):
    corectl = tmp_path / "corectl"
    corectl.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nsleep 4\n")
    corectl.chmod(0o755)
    init = run.start(*BY_PTRACE, CRASH, "segv", pid1=False, env={"COREINIT_CORECTL": corectl})
    wait_for((tmp_path / "started").exists, "the collector isn't started")
    program = min(children_of(init.pid))
    result = gdb(program, *SESSION)
    assert result.returncode == 1 and "doesn't let" in result.stderr
    _, err = init.communicate(timeout=60)
    assert init.returncode == 139 and "holds for its crash" in err


def test_only_a_request_is_kept_from_the_program(run):
    init = run.start(*BY_PTRACE, CRASH, "signals", pid1=False)
    assert init.stdout.readline() == "ready\n"
    for how in ([], ["-q", "7"]):
        subprocess.run(["/usr/bin/kill", *how, "-63", str(init.pid)], check=True)
        assert init.stdout.readline() == "SIGRTMIN+29\n"
    init.terminate()
    init.communicate(timeout=60)
    assert init.returncode == 0


def test_without_gdb_it_says_so(run, without_gdb):
    init, program = start(run, *COUNTER)
    result = subprocess.run([CORECTL, "gdb", str(program)], text=True, capture_output=True,
                            env=clean_environment(PATH=without_gdb), timeout=60)
    assert result.returncode == 1 and "there is no gdb here" in result.stderr
    assert is_traced_by(init.pid, program)
    end(init, program, signal.SIGKILL)


@pytest.mark.parametrize("arguments,said", [
    (["x"], "'x' is no pid"), (["0"], "'0' is no pid"), (["4194304"], "no process 4194304"),
    (["--name"], "usage: corectl gdb"), (["--name", "no-such-process"], "no process is called"),
    (["--what"], "usage: corectl gdb")])
def test_misuse_is_one_clear_line(arguments, said):
    result = subprocess.run([CORECTL, "gdb", *arguments], text=True, capture_output=True,
                            timeout=60)
    assert result.returncode == 1
    assert said in result.stderr and result.stderr.count("\n") == 1
