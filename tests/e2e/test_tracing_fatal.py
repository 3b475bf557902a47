"""What is fatal to a traced program is captured at that point, and nothing else is."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from bundle import bundles
from conftest import CRASH, SANITIZED, pid_of_init
from tracing import (AS_IN_DOCKER, AS_USER, BY_PTRACE, TRACED, UNLIMITED, WITHOUT_CORES, crash_of,
                     crashes, functions, no_crash)

pytest_plugins = ["tracing_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")

CORE = sorted([signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGQUIT,
               signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP, signal.SIGXCPU, signal.SIGXFSZ])
TERM = [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGPIPE, signal.SIGALRM,
        signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGSTKFLT, signal.SIGVTALRM,
        signal.SIGPROF, signal.SIGIO, signal.SIGPWR, signal.SIGRTMIN, signal.SIGRTMAX]


# Which signals.

def test_every_core_signal_of_a_worker_is_a_crash_and_its_parent_learns_of_it(run):
    found = crashes(run, TRACED, "workers", *map(int, CORE), count=len(CORE))
    assert sorted(bundle.account["signal"]["number"] for bundle in found) == CORE
    assert not any(bundle.account["program"] for bundle in found)


def test_no_other_signal_is_a_crash(run):
    result = no_crash(run, TRACED, "workers", *map(int, TERM))
    assert f"worker killed by {signal.SIGTERM:d}\n" in result.stdout


@pytest.mark.parametrize("signo", CORE)
def test_every_core_signal_of_the_program_is_a_crash(run, signo):
    bundle = crash_of(run, CRASH, "raise", signo.name)
    assert bundle.account["signal"]["name"] == signo.name
    assert bundle.account["signal"]["code_name"] == "SI_TKILL"
    assert bundle.account["program"] is True
    assert "do_raise" in functions(bundle)


def test_a_core_signal_from_outside_is_a_crash(run):
    """`docker kill -s QUIT`."""
    init = run.start(*BY_PTRACE, TRACED, "ticks", stderr=subprocess.DEVNULL)
    assert init.stdout.readline() == "tick\n"
    os.kill(pid_of_init(init), signal.SIGQUIT)
    init.communicate(timeout=60)
    assert init.returncode == 128 + signal.SIGQUIT
    bundle, = bundles(run.cores)
    assert bundle.account["signal"]["name"] == "SIGQUIT" and "ticks" in functions(bundle)


def test_a_crash_says_what_the_kernel_said_of_it(run):
    signal_account = crash_of(run, CRASH, "segv").account["signal"]
    assert signal_account["code_name"] == "SEGV_MAPERR" and signal_account["address"] == "0x0"


@pytest.mark.parametrize("signo", [signal.SIGSEGV, signal.SIGQUIT, signal.SIGABRT])
def test_a_blocked_signal_is_fatal_once_it_is_let_in(run, signo):
    bundle = crash_of(run, TRACED, "blocked", int(signo))
    assert bundle.account["signal"]["name"] == signo.name
    assert "blocked" in functions(bundle)


@pytest.mark.parametrize("mode", ["fault-blocked", "fault-ignored"])
def test_a_fault_is_fatal_even_if_its_signal_is_blocked_or_ignored(run, mode):
    bundle = crash_of(run, TRACED, mode)
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert functions(bundle)[0] == "crash_here"


@pytest.mark.parametrize("mode", ["fpe", "bus", "ill", "trap"])
def test_every_kind_of_fault_is_a_crash(run, mode):
    bundle = crash_of(run, CRASH, mode)
    assert bundle.account["signal"]["name"] == "SIG" + mode.upper()


def test_too_much_processor_time_is_a_crash(run):
    assert crash_of(run, TRACED, "cpu-limit").account["signal"]["name"] == "SIGXCPU"


def test_too_large_a_file_is_a_crash(run, tmp_path):
    bundle = crash_of(run, TRACED, "file-limit", tmp_path / "file")
    assert bundle.account["signal"]["name"] == "SIGXFSZ"
    assert "file_limit" in functions(bundle)


@pytest.mark.parametrize("mode", ["trap", "process", "thread"])
def test_a_system_call_that_a_filter_punishes_is_a_crash(run, mode):
    """SECCOMP_RET_TRAP, _KILL_PROCESS, and _KILL_THREAD where it is the last one."""
    bundle = crash_of(run, TRACED, f"crash-seccomp-{mode}")
    assert bundle.account["signal"]["name"] == "SIGSYS"
    assert "filtered_call" in functions(bundle)


@pytest.mark.parametrize("mode", ["process", "thread"])
def test_a_filter_that_kills_leaves_a_core_only_by_the_kernel(run, mode):
    """README: there is no moment at which the process could be held."""
    result = run(*BY_PTRACE, TRACED, f"crash-seccomp-{mode}", wrapper=WITHOUT_CORES)
    bundle, = bundles(run.cores)
    assert result.returncode == 128 + signal.SIGSYS
    assert bundle.account["signal"]["name"] == "SIGSYS"
    assert bundle.suffixes == {".crash.json", ".executable", ".libs.zip"}


# Handlers.

@pytest.mark.parametrize("mode", ["refault", "reset-hand", "fault-in-handler", "handler-raises"])
def test_a_handler_goes_first_and_the_crash_is_what_it_comes_to(run, mode):
    bundle = crash_of(run, TRACED, mode)
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert "crash_here" in functions(bundle)


def test_a_handler_that_aborts_shows_what_it_handled(run):
    """Fluent Bit's."""
    bundle = crash_of(run, CRASH, "handler-abort")
    assert bundle.account["signal"]["name"] == "SIGABRT"
    assert {"abort_as_fluent_bit_does", "crash_here"} <= set(functions(bundle))


def test_a_runtime_that_lives_on_faults_and_signals_is_left_alone(run):
    assert "5000 faults were fixed" in no_crash(run, TRACED, "fixups", "5000").stdout


# Stacks and threads.

@pytest.mark.parametrize("way, signame", [("segv", "SIGSEGV"), ("abort", "SIGABRT"),
                                          ("overflow", "SIGSEGV")])
def test_a_threads_crash_is_told_of_that_thread(run, way, signame):
    bundle = crash_of(run, TRACED, "crash-in-thread", way)
    assert bundle.account["signal"]["name"] == signame
    assert bundle.account["tid"] not in (None, bundle.account["pid"])
    assert {"segv": "crash_here", "abort": "do_abort", "overflow": "recurse"}[way] in \
        functions(bundle)


def test_a_threads_name_is_told(run):
    assert crash_of(run, CRASH, "thread-segv").account["thread"] == "crash-thread"


@pytest.mark.parametrize("command", [(CRASH, "overflow"), (TRACED, "overflow-handled")],
                         ids=["bare", "with a handler"])
def test_a_full_stack_is_a_crash(run, command):
    bundle = crash_of(run, *command)
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert functions(bundle)[0] == "recurse"


def threads_in(bundle, directory):
    core = bundle.unpack(directory)
    notes = subprocess.run(["eu-readelf", "-n", core], capture_output=True, text=True, check=True)
    return len(re.findall(r"\bPRSTATUS\b", notes.stdout))


def test_five_hundred_threads_are_all_in_the_core(run, tmp_path):
    bundle = crash_of(run, CRASH, "threads", "500")
    assert functions(bundle)[0] == "crash_here"
    assert threads_in(bundle, tmp_path / "unpacked") == 501


@pytest.mark.parametrize("threads", ["2", "50"])
def test_threads_that_crash_at_once_are_one_crash(run, tmp_path, threads):
    for attempt in range(3):
        run.cores = tmp_path / f"cores{attempt}"
        bundle = crash_of(run, TRACED, "crash-at-once", threads)
        assert functions(bundle)[0] == "crash_here"
        assert threads_in(bundle, tmp_path / f"unpacked{attempt}") == int(threads)


def test_a_crash_while_other_threads_make_threads_and_processes(run, tmp_path):
    for attempt in range(3):
        run.cores = tmp_path / f"cores{attempt}"
        bundle = crash_of(run, TRACED, "crash-while-busy")
        assert functions(bundle)[0] == "crash_here"
        assert threads_in(bundle, tmp_path / f"unpacked{attempt}") >= 4


def test_a_thread_that_cannot_be_stopped_costs_only_itself(run, tmp_path):
    """It waits for a vfork child, which no signal but SIGKILL interrupts."""
    bundle = crash_of(run, TRACED, "crash-beside-vfork")
    assert functions(bundle)[0] == "crash_here"
    assert threads_in(bundle, tmp_path / "unpacked") == 1


@pytest.mark.parametrize("how, signame", [("crash", "SIGSEGV"), ("abort", "SIGABRT"),
                                          ("quit", "SIGQUIT")])
def test_a_crash_after_the_first_thread_has_ended(run, how, signame):
    bundle = crash_of(run, TRACED, "leader-gone", how)
    assert bundle.account["signal"]["name"] == signame
    assert "outlive_the_leader" in functions(bundle)
    assert bundle.account["exe"] == str(TRACED)


# Processes.

@pytest.mark.parametrize("mode", ["crash-in-vfork", "crash-in-shared-memory", "crash-beside-work",
                                  "crash-stopped-first", "crash-in-daemon"])
def test_a_descendants_crash_is_its_own(run, mode):
    """Its parent lives on, and what it says of that is compared."""
    bundle = crash_of(run, TRACED, mode)
    assert bundle.account["program"] is False
    assert bundle.account["exe"] == str(TRACED)
    assert bundle.account["signal"]["name"] == "SIGSEGV"


@pytest.mark.parametrize("mode", ["crash-after-exec", "crash-after-thread-exec"])
def test_a_crash_right_after_exec_is_the_new_programs(run, mode):
    bundle = crash_of(run, TRACED, mode)
    assert bundle.account["argv"] == ["traced", "crash", "now"]
    assert "now" in functions(bundle)


def test_workers_that_crash_while_they_are_stopped_and_continued(run):
    crashes(run, TRACED, "crash-while-stopped", "8", count=8)


def test_a_shell_reports_the_crash_of_its_child_and_goes_on(run):
    bundle = crash_of(run, "sh", "-c", f"{CRASH} segv; echo status $?; exit 3")
    assert bundle.account["exe"] == str(CRASH) and bundle.account["program"] is False


def test_a_shell_that_ends_with_its_childs_status_is_no_second_crash(run):
    bundle = crash_of(run, "sh", "-c", f"{CRASH} segv; exit $?")
    assert bundle.account["exe"] == str(CRASH) and bundle.account["cause"] == "signal"


def test_a_program_with_a_filter_against_ptrace_is_captured(run):
    assert functions(crash_of(run, TRACED, "seccomp-no-ptrace"))[0] == "crash_here"


@pytest.mark.parametrize("limit", [UNLIMITED, WITHOUT_CORES], ids=["unlimited", "no cores"])
def test_a_process_that_was_traced_by_a_reporter_of_its_own_is_captured(run, limit):
    """breakpad's kind attaches, reads and lets go, and then comes the crash."""
    bundle = crash_of(run, TRACED, "crash-reporter", wrapper=limit)
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert "crash_here" in functions(bundle)


# Namespaces below.

BELOW = ("unshare", "--pid", "--fork", "--mount-proc")


def test_a_crash_in_a_pid_namespace_below_is_captured(run):
    bundle = crash_of(run, *BELOW, "sh", "-c", f"{CRASH} segv; echo status $?; exit 3")
    assert functions(bundle)[0] == "crash_here"


def test_the_crash_of_a_namespaces_init_is_captured(run):
    """And that of unshare(1), which ends by the signal that its child has ended by."""
    found = crashes(run, *BELOW, CRASH, "segv", count=2)
    assert sorted(functions(bundle)[0] for bundle in found) == ["crash_here", "kill"]


@pytest.mark.parametrize("signo", [signal.SIGSEGV, signal.SIGQUIT, signal.SIGTERM])
def test_what_is_sent_to_a_namespaces_init_from_inside_is_no_crash(run, signo):
    script = f"sh -c 'kill -{signo:d} 1'; echo alive; exit 3"
    assert no_crash(run, *BELOW, "sh", "-c", script).returncode == 3


# What must not be looked into.

@pytest.mark.parametrize("as_whom", [UNLIMITED, AS_IN_DOCKER], ids=["root", "docker"])
@pytest.mark.parametrize("how", ["itself", "by exec"])
def test_a_program_that_gave_up_being_root_is_captured(run_for_all, as_whom, how):
    program = run_for_all.coreinit.parent / "traced"
    shutil.copy(TRACED, program)
    run_for_all.cwd.chmod(0o777)
    command = {"itself": [program, "crash-after-setuid", "1000"],
               "by exec": [*AS_USER, program, "crash", "now"]}[how]
    result, bundle = run_for_all.crash(*BY_PTRACE, *command, wrapper=[*UNLIMITED, *as_whom],
                                       pid1=False)
    assert result.returncode == 139
    assert functions(bundle)[0] == "crash_here"
    assert {".core.zip", ".executable", ".stacktrace"} <= bundle.suffixes
    assert not list(run_for_all.cwd.iterdir()), "the kernel wrote a second core"

@pytest.mark.parametrize("as_whom", [(), AS_USER], ids=["root", "user"])
def test_a_program_that_made_itself_undumpable_is_captured(run_for_all, as_whom):
    program = run_for_all.coreinit.parent / "crash"
    os.chown(run_for_all.cwd, 1000, 1000)
    result, bundle = run_for_all.crash(*BY_PTRACE, program, "nodump", pid1=False,
                                       wrapper=[*UNLIMITED, *as_whom])
    assert result.returncode == 139
    assert functions(bundle)[0] == "crash_here"
    assert {".core.zip", ".executable", ".stacktrace"} <= bundle.suffixes
    assert not list(run_for_all.cwd.iterdir())


def test_a_set_uid_program_is_not_traced_and_keeps_its_privileges(run_for_all):
    program = run_for_all.coreinit.parent / "traced"
    shutil.copy(TRACED, program)
    program.chmod(0o4755)
    result = run_for_all(*BY_PTRACE, program, "user", wrapper=AS_USER, pid1=False)
    assert result.stdout == "uid 1000 euid 0\n"
    assert "capture kernel" in result.stderr and "set-uid" in result.stderr


def test_a_set_uid_program_further_down_is_told_to_have_lost_its_privileges(run_for_all):
    """execve(2) gives none to who is traced without CAP_SYS_PTRACE."""
    program = run_for_all.coreinit.parent / "traced"
    shutil.copy(TRACED, program)
    program.chmod(0o4755)
    result = run_for_all(*BY_PTRACE, "/bin/sh", "-c", f"{program} user; {program} user",
                         wrapper=AS_USER, pid1=False)
    assert result.stdout == 2 * "uid 1000 euid 1000\n"
    assert len(re.findall("set-uid", result.stderr)) == 1


# The end.

@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime sets a core limit of 0")
def test_the_kernel_would_have_written_a_core(run):
    """The control of all the tests that look for none."""
    run("--capture", "off", "--", CRASH, "segv", wrapper=UNLIMITED)
    assert [path.name for path in run.cwd.iterdir()] == ["core"]


def test_orphans_are_reaped(run):
    count = "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    result = run("-q", *BY_PTRACE, "sh", "-c", f"{CRASH} orphans 10000; sleep 0.5; {count}")
    assert (result.stdout.strip(), result.returncode) == ("0", 0)
