"""coreinit as an init: a real PID 1 that spawns, forwards, reaps and leaves the program alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import AS_PID_1, BUILD, COREINIT, CRASH, SANITIZED, clean_environment, pid_of_init
from terminal import Terminal

# All that a process can catch, except SIGCHLD, which is the init's own.
FORWARDED = sorted(set(signal.valid_signals()) -
                   {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, 32, 33})

CAP_SYS_PTRACE = 1 << 19
CAP_SYS_RESOURCE = 1 << 24

# Prints each signal it gets; ends at the second SIGTERM.
LISTENER = """
import os, signal, sys
got = []
signals = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
print("ready", os.getppid(), flush=True)
while True:
    n = signal.sigwaitinfo(signals).si_signo
    print(n, flush=True)
    if n == signal.SIGTERM and n in got:
        sys.exit(0)
    got.append(n)
"""


def read_listener(init):
    line = init.stdout.readline().split()
    assert line[0] == "ready"
    return int(line[1])


def test_every_signal_from_outside_reaches_the_program_once(run):
    init = run.start("-q", "--", sys.executable, "-c", LISTENER)
    assert read_listener(init) == 1
    pid = pid_of_init(init)
    for signo in FORWARDED:
        os.kill(pid, signo)
        assert int(init.stdout.readline()) == signo
    os.kill(pid, signal.SIGTERM)
    assert init.communicate(timeout=20)[0] == "15\n"
    assert init.returncode == 0


def test_every_signal_from_inside_reaches_the_program(run):
    """The kernel drops what a namespace's own processes send to its init, unless it is blocked."""
    inside = LISTENER.replace('print("ready", os.getppid(), flush=True)', """
if os.fork() == 0:
    import time
    for n in %r:
        os.kill(1, n)
        time.sleep(0.01)
    os.kill(1, signal.SIGTERM)
    os._exit(0)
""" % [int(s) for s in FORWARDED])
    result = run("-q", "--", sys.executable, "-c", inside)
    assert [int(n) for n in result.stdout.split()] == [int(s) for s in FORWARDED] + [15]


@pytest.mark.parametrize("signo", [signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT, signal.SIGSYS])
def test_core_signals_that_someone_sends_go_to_the_program(run, signo):
    """tini drops most of them; `docker kill -s ABRT` is how people ask for a core."""
    init = run.start("--capture=off", "--", "sleep", "60")
    pid = pid_of_init(init)
    time.sleep(0.2)
    os.kill(pid, signo)
    _, err = init.communicate(timeout=20)
    assert init.returncode == 128 + signo
    assert f"was killed by {signo.name}" in err


def test_a_stopped_program_does_not_stop_the_init(run):
    init = run.start("-q", "--", "sh", "-c", "(while sleep 0.5; do kill -CONT 2; done) & kill -STOP $$; exit 5")
    assert init.wait(timeout=20) == 5


def test_ten_thousand_orphans_are_reaped(run):
    result = run("-q", "--", CRASH, "orphans", "10000", env={})
    assert result.returncode == 0, result.stderr

    count = "ls /proc | grep -c '^[0-9]' >&2; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l"
    result = run("-q", "--", "sh", "-c", f"{CRASH} orphans 3000; sleep 0.5; {count}")
    assert result.stdout.strip() == "0"


def test_not_being_pid_1_it_is_a_subreaper(run):
    orphan = "sh -c 'sh -c \"sleep 0.3; echo parent \\$(ps -o ppid= -p \\$\\$)\" & '; sleep 1"
    result = run("-q", "--", "sh", "-c", f"echo init $PPID; {orphan}", pid1=False)
    init, parent = re.findall(r"init (\d+)\nparent +(\d+)", result.stdout)[0]
    assert init == parent, "the orphan went past coreinit"


def test_an_inherited_ignored_sigchld_hides_no_death(run):
    ignore = [sys.executable, "-c",
              "import os,signal,sys;signal.signal(signal.SIGCHLD,signal.SIG_IGN);"
              "os.execvp(sys.argv[1],sys.argv[1:])"]
    assert run("-q", "--", "sh", "-c", "exit 9", pid1=False, wrapper=ignore).returncode == 9
    result = run("-q", "--", "grep", "SigIgn", "/proc/self/status", pid1=False, wrapper=ignore)
    assert int(result.stdout.split()[1], 16) & (1 << (signal.SIGCHLD - 1)), "was given ignored"


PROGRAM_STATE = """
import os
print(os.getcwd(), sorted(os.environ.items()))
for fd in sorted(os.listdir("/proc/self/fd"), key=int):
    if os.path.exists(f"/proc/self/fd/{fd}"):  # not the listing's own
        print(fd, os.readlink(f"/proc/self/fd/{fd}"))
print([line for line in open("/proc/self/status")
       if line.startswith(("SigP", "SigB", "SigI", "SigC", "ShdPnd", "Umask", "Cap"))])
"""


@pytest.mark.parametrize("blocked, ignored", [((), ()), ((signal.SIGUSR1, signal.SIGTERM), ()),
                                              ((), (signal.SIGHUP, signal.SIGTTIN))])
def test_the_program_finds_everything_as_it_was_given(tmp_path, blocked, ignored):
    def prepare():
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for signo in ignored:
            signal.signal(signo, signal.SIG_IGN)

    env = clean_environment(COREINIT_CORES_DIR="/c", S3_KEY_PREFIX="a/b")
    outs = []
    program = [sys.executable, "-c", PROGRAM_STATE]
    for command in (program, [COREINIT, "-q", "--", *program]):
        with open(tmp_path / "out", "w+") as out:
            subprocess.run(command, cwd=tmp_path, env=env, stdin=subprocess.DEVNULL, stdout=out,
                           stderr=out, preexec_fn=prepare, timeout=20, check=True)
            out.seek(0)
            outs.append(out.read())
    assert "SigBlk" in outs[0] and outs[0] == outs[1]


def test_core_limit_and_coredump_filter_are_raised_for_the_program(run_for_all):
    run = run_for_all
    limited = ["prlimit", "--core=0:4194304000"]
    script = "ulimit -Sc; ulimit -Hc; cat /proc/self/coredump_filter"

    def ask(wrapper):
        return run("-q", "--", "sh", "-c", script, wrapper=wrapper, pid1=False).stdout.split()

    # Without CAP_SYS_RESOURCE only the soft limit can rise; dash counts in blocks of 512 bytes.
    unprivileged = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    assert ask([*unprivileged, *limited]) == ["8192000", "8192000", "00000037"]
    with open("/proc/self/status") as status:
        effective = int(re.search(r"^CapEff:\s*(\w+)$", status.read(), re.M)[1], 16)
    expected = "unlimited" if effective & CAP_SYS_RESOURCE else "8192000"
    assert ask(limited) == [expected, expected, "00000037"]


def test_off_leaves_the_limits_alone(run):
    result = run("-q", "--capture=off", "--", "sh", "-c", "ulimit -Sc; cat /proc/self/coredump_filter",
                 wrapper=["prlimit", "--core=0:4194304000"], pid1=False)
    assert result.stdout.split() == ["0", "00000033"]


def capabilities(result):
    return {name: int(value, 16) for name, value in
            re.findall(r"^Cap(\w+):\s*(\w+)$", result.stdout, re.M)}


def test_ptrace_capability_becomes_ambient_for_a_non_root_program_and_no_other(run_for_all):
    run = run_for_all
    show = ["grep", "^Cap", "/proc/self/status"]
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups",
               "--inh-caps=+sys_ptrace,+net_raw", "--ambient-caps=+sys_ptrace,+net_raw"]
    before = capabilities(subprocess.run([*as_user, *show], capture_output=True, text=True))
    after = capabilities(run("-q", "--", *show, wrapper=as_user, pid1=False))
    assert after == before, "what was ambient stays, and nothing is added"

    # The executable's own file capability makes it permitted; the program gets just that one.
    copy = run.coreinit
    subprocess.run(["setcap", "cap_sys_ptrace+p", copy], check=True)
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    bare = capabilities(subprocess.run([*as_user, *show], capture_output=True, text=True))
    result = subprocess.run([*as_user, copy, "-q", "--", *show], capture_output=True, text=True,
                            env=clean_environment(), cwd="/")
    assert result.returncode == 0, result.stderr
    assert bare["Prm"] == bare["Amb"] == 0
    assert capabilities(result) == {**bare, "Prm": CAP_SYS_PTRACE, "Eff": CAP_SYS_PTRACE,
                                    "Amb": CAP_SYS_PTRACE, "Inh": CAP_SYS_PTRACE}


def test_what_could_not_be_had_is_one_line_and_no_failure(run_for_all):
    run = run_for_all
    bare = ["setpriv", "--bounding-set=-sys_ptrace,-sys_resource", "--reuid=1000", "--regid=1000",
            "--clear-groups"]
    result = run("-v", "--capture", "kernel", "--", "true", wrapper=bare, pid1=False)
    assert result.returncode == 0
    assert len(re.findall("CAP_SYS_PTRACE is not in the bounding set", result.stderr)) == 1


def test_the_program_gets_the_terminal(run):
    terminal = Terminal(COREINIT, "-q", "--", "bash", "--norc", "-i")
    terminal.type("echo tty $(ps -o tpgid= -p $$) $$\n")
    match = terminal.expect(r"tty +(\d+) (\d+)\r")
    assert match[1] == match[2], "the program's group is the terminal's foreground group"
    terminal.type("sleep 60\n")
    time.sleep(0.3)
    terminal.type("\x03echo status $?\n")
    terminal.expect("status 130")
    terminal.type("exit 4\n")
    assert terminal.status() == 4


def test_in_the_background_it_does_not_steal_the_terminal(run):
    terminal = Terminal(shutil.which("bash"), "--norc", "-i")
    terminal.type(f"{COREINIT} -q -- sleep 2 &\n")
    time.sleep(0.7)
    terminal.type("echo still $(ps -o tpgid= -p $$) $$\n")
    match = terminal.expect(r"still +(\d+) (\d+)\r")
    assert match[1] == match[2]
    terminal.type("kill %1; wait; exit 0\n")
    assert terminal.status() == 0


def test_a_closed_stderr_harms_nothing(run):
    result = subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *AS_PID_1, COREINIT, "--",
                             "sh", "-c", "exit 7"], env=clean_environment(), timeout=20)
    assert result.returncode == 7


def full_pipe():
    """Both ends of a pipe that takes nothing more."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write_end, True)
    return read_end, write_end


def test_a_stalled_log_reader_does_not_stall_the_init(run):
    """A container's log driver may stop reading: PID 1 must go on reaping and forwarding."""
    read_end, write_end = full_pipe()
    init = run.start("-v", "--", "sh", "-c", "exit 6", stderr=write_end)
    os.close(write_end)
    assert init.wait(timeout=20) == 6
    os.close(read_end)


def test_a_log_that_nobody_reads_any_more_does_not_end_the_program(run):
    """PID 1's own SIGPIPE is blocked and lands in its signalfd: it isn't the program's."""
    script = f"exec 2>/dev/null; sleep 0.5; {CRASH} orphan 1; echo survived"
    init = run.start("--", "sh", "-c", script)
    init.stderr.close()
    assert init.stdout.read() == "survived\n"
    assert init.wait(timeout=20) == 0


def test_a_stalled_log_does_not_delay_signals_line_by_line(run):
    read_end, write_end = full_pipe()
    init = run.start("-w", "--", "sh", "-c", f"{CRASH} orphans 200 2>&-; echo done 2>&-",
                     stderr=write_end)
    os.close(write_end)
    before = time.monotonic()
    assert init.stdout.read() == "done\n"
    assert init.wait(timeout=20) == 0
    assert time.monotonic() - before < 15
    os.close(read_end)


def test_closed_standard_streams_stay_closed_and_cost_no_bundle(run):
    listing = ["ls", "-l", "/proc/self/fd"]
    bare = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", COREINIT, "-q", "--", *listing],
                          env=clean_environment(), capture_output=True, text=True, timeout=20)
    assert "/dev/null" not in bare.stdout and " 0 -> /proc" in bare.stdout
    result = subprocess.run(["sh", "-c", 'exec "$@" <&- >&-', "sh", COREINIT, "--", CRASH, "segv"],
                            env=run.environment(), cwd=run.cwd, capture_output=True, text=True,
                            timeout=60)
    assert result.returncode == 139
    assert list(run.cores.glob("*.crash.json")), result.stderr


@pytest.mark.skipif(SANITIZED, reason="the leak checker asks for the same")
def test_the_program_may_be_traced_under_yama_unless_capture_is_off(run, tmp_path):
    def asks(*options):
        trace = tmp_path / "trace"
        run(*options, "--", "true", pid1=False,
            wrapper=["strace", "-f", "-e", "trace=prctl", "-o", trace])
        return "PR_SET_PTRACER" in trace.read_text()

    assert asks("-q") and not asks("-q", "--capture=off")


def test_control_c_reaches_the_init_once_the_program_is_dead(run, tmp_path):
    fake = tmp_path / "corectl"
    fake.write_text("#!/bin/sh\ntrap '' TERM\necho collecting; sleep 60\n")
    fake.chmod(0o755)
    terminal = Terminal(COREINIT, "--", CRASH, "abort", cwd=run.cwd,
                        env=run.environment(COREINIT_CORECTL=fake))
    terminal.expect("collecting")
    terminal.type("\x03")
    terminal.expect("asked to stop")
    terminal.type("\x03")
    assert terminal.status() == 134


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's runtime allocates")
def test_nothing_is_allocated_after_start_up(run, tmp_path):
    """Across signals, 10 000 orphans and a crash, PID 1 makes no call that gets memory."""
    trace = tmp_path / "trace"
    script = (f"trap : USR1 HUP; for s in USR1 HUP USR1; do kill -$s 1; done; {CRASH} orphans 10000;"
              f" sh -c '{CRASH} segv & '; sleep 2; exit 3")
    # strace forks the init away from itself, so that the init is PID 1.
    result = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c",
                             'exec "$@"', "sh", "strace", "-D", "-o", trace, COREINIT,
                             "--", "sh", "-c", script],
                            cwd=run.cwd, env=run.environment(), capture_output=True, text=True,
                            timeout=120)
    assert result.returncode == 3, result.stderr
    assert "was killed by SIGSEGV" in result.stderr
    calls = trace.read_text().splitlines()
    first = next(i for i, line in enumerate(calls) if line.startswith(("clone", "fork", "vfork")))
    assert sum("waitid(" in line for line in calls[first:]) > 20000
    # A program that never got memory would prove nothing about this check.
    memory = re.compile(r"^(brk|mmap|mmap2|mremap)\(")
    assert any(memory.match(line) for line in calls[:first])
    assert [line for line in calls[first:] if memory.match(line)] == []


@pytest.mark.skipif(SANITIZED, reason="valgrind and the sanitizers exclude each other")
def test_valgrind_finds_nothing_wrong_with_pid_1(run):
    script = f"kill -USR2 1; {CRASH} orphans 50; sh -c '{CRASH} segv & '; sleep 2; exit 3"
    result = subprocess.run([*AS_PID_1, "valgrind", "--quiet", "--error-exitcode=99",
                             "--trace-children=no", "--child-silent-after-fork=yes", "--vgdb=no",
                             BUILD / "tests/coreinit-dynamic", "--", "sh", "-c", f"trap : USR2; {script}"],
                            cwd=run.cwd, env=run.environment(COREINIT_CORECTL=BUILD / "corectl"),
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 3, result.stderr
    assert "was killed by SIGSEGV" in result.stderr
    assert "==" not in result.stderr
