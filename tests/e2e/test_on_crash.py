"""--on-crash: starting the program again, keeping the container up, and ending."""

import contextlib
import os
import re
import signal
import subprocess

import pytest

from bundle import bundles
from conftest import AS_PID_1, BUILD, COREINIT, CORECTL, CRASH, SANITIZED, Runner
from terminal import Terminal
from tracing import BY_PTRACE, children_of, wait_for

pytest_plugins = ["container", "tracing_fixtures"]

RESTART = ("--on-crash", "restart")
LINGER = ("--on-crash", "linger")
IN_KERNEL = ("--capture", "kernel", "--")
BOTH = pytest.mark.parametrize("mode", [IN_KERNEL, BY_PTRACE], ids=["kernel", "ptrace"])

# Counts its lives; each but the last crashes.
LIVES = """echo life >> lives; n=$(wc -l < lives); echo $n $$ $(grep -c 'TracerPid:.[^0]' /proc/self/status)
[ $n -gt {crashes} ] || kill -{signal} $$
"""


def lives(crashes, then="exit 3", signo="SEGV"):
    return ("sh", "-c", LIVES.format(crashes=crashes, signal=signo) + then)


@BOTH
def test_a_program_that_crashes_is_started_again(start, mode):
    container = start("", *RESTART, *mode, *lives(2))
    assert container.status() == 3
    out = [list(map(int, line.split())) for line in container.process.stdout.read().splitlines()]
    assert [life for life, _, _ in out] == [1, 2, 3]
    assert len({pid for _, pid, _ in out}) == 3
    assert {is_traced for _, _, is_traced in out} == {int(mode == BY_PTRACE)}
    calls = container.stand_in.calls()
    assert [call["pid"] for call in calls] == [pid for _, pid, _ in out[:2]]
    assert [(call["n_restarts"], call["n_crashes"], call["is_brief"]) for call in calls] == \
        [(0, 1, False), (1, 2, False)]
    said = container.said.text()
    assert "the program is started again in 1 s" in said
    assert "the program is started again in 2 s" in said


def test_without_capture_it_is_started_again_too(start):
    container = start("", *RESTART, "--capture", "off", "--", *lives(1))
    assert container.status() == 3
    assert container.stand_in.calls() == []


def test_a_shell_that_tells_of_its_childs_crash_is_started_again(start):
    script = f"echo life >> lives; [ $(wc -l < lives) -gt 1 ] || {{ {CRASH} abort; exit $?; }}; exit 5"
    container = start("", *RESTART, *IN_KERNEL, "sh", "-c", script)
    assert container.status() == 5


@pytest.mark.parametrize("script, status", [("exit 3", 3), ("kill -KILL $$", 137), ("exit 0", 0)])
def test_what_is_no_crash_is_not_started_again(start, script, status):
    container = start("", *RESTART, "--", "sh", "-c", "echo life >> lives; " + script)
    assert container.status() == status
    assert (container.directory / "work/lives").read_text() == "life\n"


@BOTH
def test_the_limit_ends_it_with_the_crashs_status(start, mode):
    container = start("", *RESTART, "--restart-limit", "1", *mode, *lives(9, signo="ABRT"))
    assert container.status() == 128 + signal.SIGABRT
    assert len(container.stand_in.calls()) == 2
    assert "the limit of restarts in an hour is reached (--restart-limit 1)" in container.said.text()


def test_a_crash_loop_costs_one_small_file_a_crash(tmp_path, without_gdb):
    """The kernel's core of the last one, which nobody bundles, doesn't stay either."""
    loops = []
    for name, mode in (("ptrace", BY_PTRACE), ("kernel", IN_KERNEL)):
        (tmp_path / name).mkdir()
        run = Runner(tmp_path / name)
        loops.append((run, run.start(*RESTART, "--restart-limit", "3", *mode, CRASH, "segv",
                                     env={"PATH": without_gdb})))
    for run, process in loops:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 139, said
        found = sorted(bundles(run.cores), key=lambda bundle: bundle.account["time"])
        assert [len(bundle.suffixes) for bundle in found] == [5, 5, 5, 1], said
        assert found[3].suffixes == {".crash.json"}
        assert not list(run.cwd.iterdir()), said
    assert "is not kept: it is crash 4 of the last hour" in said


def test_the_bundle_of_before_goes_on_at_low_priority(start):
    container = start("take_core(); wait_for_go(); say(os.nice(0))", *RESTART, *IN_KERNEL,
                      *lives(1, then="touch up; while [ ! -e ../go ]; do sleep 0.02; done; exit 3"))
    container.wait_until_up()
    wait_for(lambda: (10, "idle") in priorities(container.pid), "nobody has low priority")
    assert (0, "idle") not in priorities(container.pid)
    container.stand_in.go_on()
    assert container.status() == 3
    assert container.stand_in.words() == ["10"]


def priorities(pid):
    found = []
    for child in children_of(pid):
        try:
            with open(f"/proc/{child}/stat") as stat:
                nice = int(stat.read().rpartition(")")[2].split()[16])
        except (FileNotFoundError, ProcessLookupError):
            continue
        io = subprocess.run(["ionice", "-p", str(child)], capture_output=True, text=True).stdout
        found.append((nice, io.strip()))
    return found


@BOTH
def test_it_is_not_started_again_before_its_core_is_taken(start, mode):
    """The next one might take its place."""
    container = start("time.sleep(2); say('taken'); take_core(); wait_for_go()", *RESTART, *mode,
                      *lives(1, then="cat ../words; touch ../go; exit 3"))
    assert container.status() == 3
    assert container.process.stdout.read().splitlines()[-1] == "taken"


def test_signals_go_to_the_program_that_was_started_again(start):
    container = start("take_core(); wait_for_go()", *RESTART, *IN_KERNEL,
                      *lives(1, then="trap 'echo usr1' USR1; trap 'touch ../go; exit 7' TERM;"
                                     " touch up; while :; do sleep 0.02; done"))
    container.wait_until_up()
    os.kill(container.pid, signal.SIGUSR1)
    os.kill(container.pid, signal.SIGTERM)
    assert container.status() == 7
    assert "usr1" in container.process.stdout.read()


@pytest.mark.parametrize("script", ["", "take_core(); wait_for_word()"],
                         ids=["collected", "collecting"])
def test_asked_to_stop_before_it_is_started_again_it_ends(start, script):
    container = start(script, *RESTART, *IN_KERNEL, *lives(9))
    container.said.wait("the program is started again in 4 s")
    container.stop()
    assert container.status() == 139
    assert len((container.directory / "work/lives").read_text().split()) == 3


def test_a_program_that_was_asked_to_stop_is_not_started_again(start):
    container = start("", *RESTART, *IN_KERNEL, "sh", "-c",
                      "trap 'kill -SEGV $$' TERM; touch up; while :; do sleep 0.02; done")
    container.wait_until_up()
    container.stop()
    assert container.status() == 139
    assert "started again" not in container.said.text()


def test_a_program_that_is_gone_ends_it_as_not_found(start, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nrm $0; kill -SEGV $$\n")
    program.chmod(0o755)
    container = start("", *RESTART, *IN_KERNEL, program)
    assert container.status() == 127
    assert f"cannot start {program}: not found" in container.said.text()


def test_what_the_last_life_left_running_lives_on_and_is_told(start):
    script = "setsid sleep 77 & " + LIVES.format(crashes=1, signal="SEGV") + "exec ps -eo args"
    container = start("", *RESTART, *IN_KERNEL, "sh", "-c", script)
    assert container.status() == 0
    assert container.process.stdout.read().count("sleep 77") >= 2
    assert re.search(r"1 process of the program's last life still runs, pid \d+: ports and locks",
                     container.said.text())


@BOTH
def test_a_crash_does_not_wait_for_the_upload_of_the_one_before(start, mode):
    """The first collector has its core, and goes on for long: it is told to make way."""
    script = "take_core()\nif record.n_restarts == 0: say(wait_for_word())"
    container = start(script, *RESTART, *mode, *lives(2))
    assert container.status() == 3
    left, = container.stand_in.words()
    assert 0 < int(left) <= 30000


def test_the_program_that_is_started_again_gets_the_terminal(run):
    terminal = Terminal(COREINIT, "-q", *RESTART, "--", "bash", "--norc", "-i", cwd=run.cwd,
                        env=run.environment(COREINIT_CORECTL="/bin/true"))
    for _ in range(2):
        terminal.type("echo tty $(ps -o tpgid= -p $$) $$\n")
        match = terminal.expect(r"tty +(\d+) (\d+)\r")
        assert match[1] == match[2]
        terminal.type("trap - SEGV; kill -SEGV $$\n")
        terminal.expect("is started again in")
    terminal.type("exit 4\n")
    terminal.type("exit 4\n")
    assert terminal.status() == 4


def test_control_c_ends_the_pause(run):
    terminal = Terminal(COREINIT, *RESTART, "--", "sh", "-c", "kill -SEGV $$", cwd=run.cwd,
                        env=run.environment(COREINIT_CORECTL="/bin/true"))
    terminal.expect("is started again in 2 s")
    terminal.type("\x03")
    terminal.expect("asked to stop")
    assert terminal.status() == 139


@BOTH
def test_lingering_it_stays_up_until_it_is_stopped(start, mode):
    container = start("", *LINGER, "--linger-minutes", "7", *mode, "sh", "-c",
                      f"({CRASH} orphan 0; setsid sleep 0.5) & kill -ABRT $$")
    container.said.wait("the container is kept up for 7 min")
    wait_for(lambda: not children_of(container.pid), "what ends meanwhile is reaped")
    assert container.process.poll() is None
    container.stop(signal.SIGUSR1)
    container.stop()
    assert container.status() == 134


def test_lingering_is_for_crashes(start):
    assert start("", *LINGER, "--", "sh", "-c", "exit 3").status() == 3


def test_a_stop_during_the_collection_ends_what_would_have_lingered(start):
    container = start("wait_for_word()", *LINGER, *IN_KERNEL, CRASH, "segv")
    container.stand_in.wait()
    container.stop()
    assert container.status() == 139
    assert "is kept up" not in container.said.text()


@pytest.mark.parametrize("what", ["restart", "linger"])
@pytest.mark.parametrize("how", [("--attach-name", "x"), ("--attach-pid", "1")])
def test_there_is_none_of_it_for_a_process_that_is_attached_to(run, what, how):
    result = run("--on-crash", what, *how)
    assert result.returncode == 1
    error, usage = result.stderr.splitlines()
    assert f"--on-crash {what} is for a program that coreinit starts" in error
    assert usage.startswith("usage: ")


# PID 1 itself, over lives.

OVER_LIVES = LIVES.format(crashes=2, signal="SEGV") + f"sh -c '{CRASH} orphan 0'; exit 3"


@BOTH
def test_no_descriptor_of_an_earlier_life_stays_open(start, mode):
    """The program has no children, which would be looked at too."""
    script = ("n=0; [ ! -e lives ] || read n < lives; echo $((n + 1)) > lives; : > up-$n;"
              " [ $n -lt 2 ] || exec sleep 60; while [ ! -e go-$n ]; do :; done; kill -SEGV $$")
    container = start("", *RESTART, *mode, "sh", "-c", script)

    def descriptors(life):
        wait_for((container.directory / f"work/up-{life}").exists, f"no life {life}")
        links = []
        for fd in os.listdir(f"/proc/{container.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                links.append(os.readlink(f"/proc/{container.pid}/fd/{fd}"))
        return sorted(links)

    if mode == IN_KERNEL:
        wait_for(lambda: any("memfd:maps" in link for link in descriptors(0)), "nobody looked")
    first = descriptors(0)
    for life in (0, 1):
        (container.directory / f"work/go-{life}").touch()
    wait_for(lambda: len(descriptors(2)) <= len(first), "descriptors are left open")
    container.stop()
    assert container.status() == 143


@pytest.mark.skipif(SANITIZED, reason="valgrind and the sanitizers exclude each other")
@BOTH
def test_valgrind_finds_nothing_wrong_with_restarts(run, quick, mode):
    result = subprocess.run([*AS_PID_1, "valgrind", "--quiet", "--vgdb=no", "--error-exitcode=99",
                             "--leak-check=full", "--trace-children=no",
                             "--child-silent-after-fork=yes", BUILD / "tests/coreinit-dynamic",
                             *RESTART, *mode, "sh", "-c", OVER_LIVES],
                            cwd=run.cwd, env=run.environment(COREINIT_CORECTL=CORECTL),
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 3, result.stderr
    assert "==" not in result.stderr


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime allocates")
def test_nothing_is_allocated_to_start_the_program_again(run, tmp_path):
    trace = tmp_path / "trace"
    result = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'exec "$@"',
                             "sh", "strace", "-D", "-o", trace, run.coreinit, *RESTART, *IN_KERNEL,
                             "sh", "-c", OVER_LIVES],
                            cwd=run.cwd, env=run.environment(COREINIT_CORECTL="/bin/true"),
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 3, result.stderr
    calls = trace.read_text().splitlines()
    first = next(i for i, line in enumerate(calls) if line.startswith(("clone", "fork", "vfork")))
    memory = re.compile(r"^(brk|mmap|mmap2|mremap)\(")
    assert any(memory.match(line) for line in calls[:first])
    assert [line for line in calls[first:] if memory.match(line)] == []
