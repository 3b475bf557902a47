"""corectl snapshot: the bundle of a process that goes on, whatever it was doing."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import zipfile

import pytest

from bundle import SUFFIXES, bundles, whole_bundle
from conftest import BUILD, CORECTL, COREINIT, clean_environment
from tracing import wait_for
from tracing_fixtures import quick, tools_without_gdb  # noqa: F401

STEADY = BUILD / "tests/steady"

# Whoever isn't root, or lacks CAP_SYS_PTRACE, is refused by Yama from here on.
YAMA = "/proc/sys/kernel/yama/ptrace_scope"


def state_of(pid, tid=None):
    text = open(f"/proc/{pid}/task/{tid or pid}/status").read()
    return (re.search(r"^State:\s+(\S)", text, re.M)[1],
            int(re.search(r"^TracerPid:\s+(\d+)", text, re.M)[1]))


def children_of(pid):
    """Of all threads: (pid, state)."""
    found = []
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in open(f"/proc/{pid}/task/{tid}/children").read().split():
                stat = open(f"/proc/{child}/stat").read()
                found.append((int(child), stat[stat.rindex(")") + 2], stat[stat.index("(") + 1:stat.rindex(")")]))
    return found


def living_copies(pid):
    return {child for child, state, comm in children_of(pid) if comm == "steady" and state not in "ZX"}


class Steady:
    """A process that checks itself, and says how far it is, ten times a second."""

    def __init__(self, *modes, wrapper=(), executable=STEADY, **kwargs):
        self.process = subprocess.Popen([*map(str, wrapper), str(executable), *map(str, modes)],
                                        stdout=subprocess.PIPE, text=True, **kwargs)
        self.pid = self.process.pid
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        wait_for(lambda: len(self.lines) > 1, "it doesn't begin")

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def assert_goes_on(self, turns=True):
        """It says something new, was never wrong, isn't traced and has no copy that lives."""
        before, begin = len(self.lines), self.lines[-1]
        wait_for(lambda: self.process.poll() is not None or len(self.lines) > before + 3
                 and (not turns or self.lines[-1] != begin),
                 f"it stands still: {state_of(self.pid)}")
        assert self.process.poll() is None, (self.process.returncode, self.lines[-1])
        assert not [line for line in self.lines if "wrong" in line]
        for tid in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, tracer = state_of(self.pid, tid)
                assert (state not in "tT") and tracer == 0, (tid, state, tracer)
        # Its own children have its name until they execute something.
        copies = living_copies(self.pid)
        time.sleep(0.2 if copies else 0)
        assert not copies & living_copies(self.pid)

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def steady():
    started = []

    def start(*modes, **kwargs):
        started.append(Steady(*modes, **kwargs))
        return started[-1]
    yield start
    for one in started:
        one.end()


class Snapshot:
    def __init__(self, tmp_path):
        self.out = tmp_path / "out"

    def command(self, *arguments, wrapper=()):
        return [*map(str, wrapper), str(CORECTL), "snapshot", *map(str, arguments), "--out", str(self.out)]

    def environment(self, **env):
        return clean_environment(**env)

    def start(self, *arguments, wrapper=(), env=None, **kwargs):
        return subprocess.Popen(self.command(*arguments, wrapper=wrapper), text=True, stderr=subprocess.PIPE,
                                env=self.environment(**(env or {})), **kwargs)

    def run(self, *arguments, wrapper=(), env=None, **kwargs):
        return subprocess.run(self.command(*arguments, wrapper=wrapper), text=True, capture_output=True,
                              env=self.environment(**(env or {})), timeout=120, **kwargs)

    def __call__(self, *arguments, method="clone", **kwargs):
        """Takes one that has to be whole. Returns its bundle."""
        result = self.run(*arguments, **kwargs)
        assert result.returncode == 0, result.stderr
        bundle = whole_bundle(self.out)
        assert bundle.account["cause"] == "snapshot"
        assert bundle.account["snapshot"]["method"] == method, (bundle.account["snapshot"], result.stderr)
        assert (bundle.account["snapshot"]["why"] is None) == (method == "clone")
        assert result.stderr.splitlines()[-1].startswith(f"coreinit: notice: bundle {bundle.id}: ")
        bundle.log = result.stderr
        return bundle


@pytest.fixture
def snapshot(tmp_path):
    return Snapshot(tmp_path)


def gdb_on(bundle, where, *commands):
    core = bundle.unpack(where)
    words = [word for command in commands for word in ("-ex", command)]
    return subprocess.run(["gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off",
                           "-ex", f"set sysroot {where / 'sysroot'}", "-ex", f"file {bundle.path('.executable')}",
                           "-ex", f"core-file {core}", *words],
                          capture_output=True, text=True, timeout=120).stdout


def core_bytes(bundle):
    with zipfile.ZipFile(bundle.path(".core.zip")) as archive:
        return archive.read("core")


def test_the_bundle_of_a_running_process_is_whole_and_says_what_it_is(snapshot, steady):
    target = steady("nanosleep", "idle", 3)
    bundle = snapshot(target.pid)
    account = bundle.account
    assert bundle.suffixes == SUFFIXES
    assert account["pid"] == account["tid"] == target.pid
    assert account["signal"]["name"] is None and account["exit_status"] is None
    assert account["argv"] == [str(STEADY), "nanosleep", "idle", "3"]
    assert account["exe"] == str(STEADY) and account["comm"] == account["thread"] == "steady"
    assert account["uptime"] > 0 and account["program"] is False
    assert 0 < account["snapshot"]["pause_ms"] < 1000
    assert account["capture"]["unreadable"] == 0 and not account["capture"]["truncated"]
    assert any(frame["function"] == "main" for frame in account["frames"])
    assert "snapshot" in bundle.stacktrace.splitlines()[0]
    assert "killed" not in bundle.stacktrace and "signal 0" not in bundle.stacktrace
    assert re.search(rf"steady \(pid {target.pid}\) was paused for [\d.]+ ms", bundle.log)
    target.assert_goes_on()
    assert not children_of(target.pid), "not even a zombie is left"


def test_gdb_shows_the_frames_of_all_threads(snapshot, steady, tmp_path):
    target = steady("idle", 20, "futex", "spin")
    bundle = snapshot(target.pid)
    text = gdb_on(bundle, tmp_path / "unpacked", "info threads", "thread apply all bt")
    assert len(re.findall(r"^Thread \d+ ", text, re.M)) == 23
    for function in ("idle", "wait_futex", "spin", "main"):
        assert re.search(rf"^#\d+ .*\b{function} \(", text, re.M), text
    assert "terminated with signal" not in text


def test_what_wait_with_a_timeout_returns_neither_early_nor_late(snapshot, steady, quick):  # noqa: F811
    target = steady("nanosleep", 3, "futex", 3, "poll", 3, "select", 3, "epoll", "read", 2)
    for _ in range(5):
        assert snapshot.run(target.pid).returncode == 0
        target.assert_goes_on()


def test_registers_memory_signals_children_and_threads_are_as_they_were(snapshot, steady, quick):  # noqa: F811
    target = steady("busy", "spin", "memory", 64, "signals", "children", "threads")
    for _ in range(5):
        assert snapshot.run(target.pid).returncode == 0
        target.assert_goes_on()


def test_a_busy_loop_without_any_system_call_is_snapshotted(snapshot, tmp_path, quick):  # noqa: F811
    source = tmp_path / "loop.c"
    source.write_text("volatile unsigned long n; int main(void) { for (;;) n++; }\n")
    subprocess.run(["cc", "-O0", "-g", "-o", tmp_path / "loop", source], check=True)
    target = subprocess.Popen([tmp_path / "loop"])
    try:
        time.sleep(0.2)
        bundle = snapshot(target.pid)
        assert bundle.account["frames"][0]["function"] == "main"
        assert state_of(target.pid) == ("R", 0)
    finally:
        target.kill()
        target.wait()


def compile_program(tmp_path, name, text, *flags):
    source = tmp_path / f"{name}.c"
    source.write_text(text)
    subprocess.run(["cc", "-g", "-o", tmp_path / name, source, *flags, "-lpthread"], check=True)
    return tmp_path / name


COUNTING = """
#include <stdio.h>
#include <unistd.h>
static void count(void) { for (int i = 0;; i++) { printf("%d\\n", i); fflush(stdout); usleep(100000); } }
"""


def test_a_process_whose_first_thread_has_ended(snapshot, steady, tmp_path, quick):  # noqa: F811
    target = steady(executable=compile_program(tmp_path, "headless", COUNTING + """
        #include <pthread.h>
        static void *run(void *x) { count(); return x; }
        int main(void) { pthread_t t; pthread_create(&t, NULL, run, NULL); pthread_exit(NULL); }
        """))
    bundle = snapshot(target.pid)
    account = bundle.account
    assert account["pid"] == target.pid != account["tid"] and account["capture"]["unreadable"] == 0
    assert account["exe"] == str(tmp_path / "headless") and account["argv"] == [account["exe"]]
    assert any(frame["function"] == "count" for frame in account["frames"])
    before = len(target.lines)
    wait_for(lambda: len(target.lines) > before + 3, "it stands still")


def test_a_program_under_address_sanitizer(snapshot, steady, tmp_path, quick):  # noqa: F811
    program = compile_program(tmp_path, "sanitized", COUNTING + "int main(void) { count(); }",
                              "-fsanitize=address")
    target = steady(executable=program)
    bundle = snapshot(target.pid)
    assert any(frame["function"] == "count" for frame in bundle.account["frames"])
    assert bundle.account["capture"]["unreadable"] == 0
    assert bundle.path(".core.zip").stat().st_size < 64 << 20
    target.assert_goes_on()


def test_500_threads(snapshot, steady, quick):  # noqa: F811
    target = steady("idle", 499, "spin")
    bundle = snapshot(target.pid)
    assert len(re.findall(r"^Thread \d+ ", bundle.stacktrace, re.M)) == 501
    target.assert_goes_on()


def test_a_stopped_process_stays_stopped_and_continues_when_it_is_told(snapshot, steady):
    target = steady("spin", "futex", "idle", 2)
    os.kill(target.pid, signal.SIGSTOP)
    wait_for(lambda: state_of(target.pid)[0] == "T", "it doesn't stop")
    snapshot(target.pid)
    time.sleep(0.2)
    for tid in os.listdir(f"/proc/{target.pid}/task"):
        assert state_of(target.pid, tid) == ("T", 0)
    os.kill(target.pid, signal.SIGCONT)
    target.assert_goes_on()


def test_the_core_has_every_kind_of_memory_that_belongs_to_it(snapshot, steady, quick):  # noqa: F811
    target = steady("areas", "spin")
    bundle = snapshot(target.pid)
    core = core_bytes(bundle)
    for kind in ("private", "shared", "dontfork", "wipeonfork"):
        for page in (0, 255):
            assert f"<{kind} area {page}>\0".encode() in core, (kind, page)
    assert b"<dontdump area 0>\0" not in core
    assert b"terabyte area\0" in core and b"large shared area\0" in core
    assert len(core) < 256 << 20 and bundle.path(".core.zip").stat().st_size < 64 << 20
    target.assert_goes_on()


def test_a_snapshot_is_of_one_moment(snapshot, steady, quick):  # noqa: F811
    """While the core is read the memory changes all the time; in the core it doesn't."""
    target = steady("memory", 256)
    wait_for(lambda: int(target.lines[-1]) > 0, "the memory isn't all touched")
    bundle = snapshot(target.pid)
    assert bundle.account["snapshot"]["pause_ms"] < 500
    core = core_bytes(bundle)
    words = memoryview(core).cast("Q")
    count = (256 << 20) // 8
    # Word i is turn * 31 + i: of one turn up to some place, of the one before behind it.
    start = next(at for at in range(2, len(words) - count, 512)
                 if words[at + 64] - words[at] == 64 and words[at + 128] - words[at] == 128)
    turns = {words[start + i] - i for i in range(0, count, 64)}
    assert len(turns) <= 2, turns
    target.assert_goes_on()


# Where a clone isn't possible, or would be a risk.

SECCOMP = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def statement(code, k): return struct.pack("=HBBI", code, 0, 0, k)
def jump(code, k, yes, no): return struct.pack("=HBBI", code, yes, no, k)
program = (statement(0x20, 0) + jump(0x15, 56, 1, 0) + statement(0x06, 0x7fff0000) + statement(0x06, 0x80000000))
buffer = ctypes.create_string_buffer(program)
fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(fprog), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_seccomp_filter_that_kills_for_clone_does_not_kill(snapshot, steady, quick):  # noqa: F811
    # Its threads come by clone3(2), which the filter lets pass.
    target = steady("spin", "areas", wrapper=("/usr/bin/python3", "-c", SECCOMP))
    bundle = snapshot(target.pid, method="copy")
    assert "seccomp" in bundle.account["snapshot"]["why"] and "seccomp" in bundle.log
    core = core_bytes(bundle)
    for kind in ("private", "shared", "dontfork", "wipeonfork"):
        assert f"<{kind} area 255>\0".encode() in core, kind
    assert b"<dontdump area 0>\0" not in core and b"terabyte area\0" in core
    assert b"large shared area\0" in core
    target.assert_goes_on()


def test_a_process_that_may_make_no_further_ones_is_copied(snapshot, steady, quick, run_for_all):  # noqa: F811
    copy = run_for_all.cores.parent / "steady"
    shutil.copy(STEADY, copy)
    target = steady("nanosleep", executable=copy,
                    wrapper=("setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "prlimit", "--nproc=2:2"))
    bundle = snapshot(target.pid, method="copy")
    assert "Resource temporarily unavailable" in bundle.account["snapshot"]["why"]
    target.assert_goes_on()


def test_whoever_handles_its_own_page_faults_is_not_cloned(snapshot, steady, tmp_path, quick):  # noqa: F811
    """It is told of a clone(2), which waits until it has heard."""
    target = steady(executable=compile_program(tmp_path, "handler", COUNTING + """
        #include <fcntl.h>
        #include <linux/userfaultfd.h>
        #include <pthread.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        static int fd;
        static void *handle(void *x) { struct uffd_msg m; while (read(fd, &m, sizeof(m)) > 0); return x; }
        int main(void)
        {
            struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_FORK};
            struct uffdio_register area = {.mode = UFFDIO_REGISTER_MODE_MISSING, .range.len = 1 << 20};
            pthread_t t;

            area.range.start = (unsigned long)mmap(NULL, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            fd = syscall(SYS_userfaultfd, O_CLOEXEC);
            if (ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &area) < 0)
                puts("none\\nnone");
            pthread_create(&t, NULL, handle, NULL);
            count();
        }
        """))
    if target.lines[0] == "none":
        pytest.skip("no userfaultfd(2) with its events here")
    bundle = snapshot(target.pid, method="copy")
    assert "userfaultfd" in bundle.account["snapshot"]["why"]
    assert bundle.account["snapshot"]["pause_ms"] < 2000
    target.assert_goes_on()


def test_a_copy_shows_gdb_the_same(snapshot, steady, tmp_path):
    target = steady("idle", 5, "futex", wrapper=("/usr/bin/python3", "-c", SECCOMP))
    bundle = snapshot(target.pid, method="copy")
    text = gdb_on(bundle, tmp_path / "unpacked", "thread apply all bt")
    assert len(re.findall(r"^Thread \d+ ", text, re.M)) == 7
    assert re.search(r"^#\d+ .*\bidle \(", text, re.M) and re.search(r"^#\d+ .*\bmain \(", text, re.M)
    assert re.findall(r"^Thread \d+ ", bundle.stacktrace, re.M)


class MemoryGroup:
    """A memory cgroup for corectl, of either version."""

    def __init__(self, limit):
        is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        self.path = f"/sys/fs/cgroup/{'' if is_v2 else 'memory/'}coreinit-test-{os.getpid()}"
        self.limit_file = f"{self.path}/{'memory.max' if is_v2 else 'memory.limit_in_bytes'}"
        try:
            os.mkdir(self.path)
            self.limit(limit)
        except OSError as error:
            pytest.skip(f"no memory cgroup can be made here: {error}")
        self.wrapper = ("sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh")

    def limit(self, mib):
        with open(self.limit_file, "w") as file:
            file.write(str(mib << 20))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        wait_for(lambda: self.remove(), "the cgroup is in use")

    def remove(self):
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
            return True
        return False


def test_where_memory_is_short_the_process_is_held_while_its_core_is_read(snapshot, steady, quick):  # noqa: F811
    target = steady("spin", "areas", "idle", 3)
    with MemoryGroup(60) as group:
        bundle = snapshot(target.pid, method="held", wrapper=group.wrapper)
    assert "memory is short" in bundle.account["snapshot"]["why"]
    assert bundle.account["snapshot"]["pause_ms"] > 0
    assert "stands still while its core is read" in bundle.log
    core = core_bytes(bundle)
    assert b"<dontfork area 255>\0" in core and b"<wipeonfork area 0>\0" in core
    target.assert_goes_on()


def test_a_held_process_is_let_go_when_corectl_is_interrupted(snapshot, steady):
    for signo in (signal.SIGINT, signal.SIGKILL):
        target = steady("spin", "memory", 512, "idle", 3)
        with MemoryGroup(60) as group:
            process = snapshot.start(target.pid, wrapper=group.wrapper)
            wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
            assert state_of(target.pid) == ("t", process.pid)
            process.send_signal(signo)
            process.communicate(timeout=10)
        target.assert_goes_on()


def test_a_clone_is_given_up_before_memory_is_used_up(snapshot, steady, quick):  # noqa: F811
    target = steady("memory", 512)
    with MemoryGroup(1024) as group:
        process = snapshot.start(target.pid, wrapper=group.wrapper)
        wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
        group.limit(60)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0 and "memory is short: the clone" in err, err
    bundle = whole_bundle(snapshot.out)
    assert bundle.account["snapshot"]["method"] == "clone" and bundle.account["capture"]["unreadable"] > 0
    assert "could not be read" in err
    target.assert_goes_on()
    assert not children_of(target.pid)


# Whose it is, and what it isn't.

@pytest.mark.parametrize("wrapper", [
    ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"),
    ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"),
])
def test_another_users_process_needs_no_ptrace_capability(run_for_all, steady, wrapper, quick):  # noqa: F811
    if os.path.exists(YAMA) and open(YAMA).read().strip() != "0":
        pytest.skip("Yama asks for the capability")
    directory = run_for_all.cores.parent
    shutil.copy(STEADY, directory)
    target = steady("spin", "idle", wrapper=("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"),
                    executable=directory / "steady")
    result = subprocess.run([*wrapper, directory / "corectl", "snapshot", str(target.pid), "--out", run_for_all.cores],
                            text=True, capture_output=True, env=clean_environment(), cwd="/")
    assert result.returncode == 0, result.stderr
    assert whole_bundle(run_for_all.cores).account["snapshot"]["method"] == "clone"
    target.assert_goes_on()


def test_an_undumpable_process_is_for_who_has_the_capability(snapshot, steady, quick):  # noqa: F811
    target = steady("spin", "undumpable")
    snapshot(target.pid)
    target.assert_goes_on()
    result = snapshot.run(target.pid, wrapper=("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all"))
    assert result.returncode == 1 and "can't be traced" in result.stderr and "CAP_SYS_PTRACE" in result.stderr
    target.assert_goes_on()


@pytest.mark.parametrize("arguments, words", [
    (("1", "2"), "usage: corectl snapshot"),
    (("--name",), "usage: corectl snapshot"),
    (("--name", "x", "7"), "usage: corectl snapshot"),
    (("--wrong",), "usage: corectl snapshot"),
    (("x",), "'x' is no pid"),
    (("99999999",), "no process 99999999"),
    (("--name", "no-such-program"), "no process is called 'no-such-program'"),
    (("2",), "thread of the kernel"),
])
def test_misuse_is_one_line(snapshot, arguments, words):
    if arguments == ("2",) and open("/proc/2/comm").read() != "kthreadd\n":
        pytest.skip("no kernel threads here")
    result = subprocess.run([CORECTL, "snapshot", *arguments], text=True, capture_output=True,
                            env=clean_environment())
    assert result.returncode == 1 and words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_zombie_has_nothing_to_show(snapshot):
    child = subprocess.Popen(["true"])
    wait_for(lambda: state_of(child.pid)[0] == "Z", "it doesn't end")
    result = snapshot.run(child.pid)
    assert result.returncode == 1 and "has ended" in result.stderr
    child.wait()


def test_a_process_that_another_debugger_traces_is_left_to_it(snapshot, steady):
    target = steady("spin")
    tracer = subprocess.Popen(["strace", "-f", "-o", "/dev/null", "-p", str(target.pid)]) \
        if shutil.which("strace") else \
        subprocess.Popen(["gdb", "-nx", "-q", "-p", str(target.pid), "-ex", "continue"],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: state_of(target.pid)[1] == tracer.pid, "it isn't traced")
    result = snapshot.run(target.pid)
    tracer.kill()
    tracer.wait()
    assert result.returncode == 1 and f"is traced by {'strace' if shutil.which('strace') else 'gdb'}" in result.stderr
    target.assert_goes_on()


def test_without_a_place_for_the_bundle_nothing_stands_still(snapshot, steady):
    target = steady("spin")
    result = subprocess.run([CORECTL, "snapshot", str(target.pid), "--out", "/proc/none"], text=True,
                            capture_output=True, env=clean_environment())
    assert result.returncode == 1 and "no place for a bundle" in result.stderr
    assert "paused" not in result.stderr
    target.assert_goes_on()


def test_a_name_is_enough(snapshot, steady, tmp_path, quick):  # noqa: F811
    copy = tmp_path / "steady-by-name"
    shutil.copy(STEADY, copy)
    target = subprocess.Popen([copy, "spin"], stdout=subprocess.DEVNULL)
    try:
        bundle = snapshot("--name", "steady-by-name")
        assert bundle.account["pid"] == target.pid
    finally:
        target.kill()
        target.wait()


def test_a_process_in_uninterruptible_sleep_is_told_so(snapshot, tmp_path):
    """A parent waits for its vfork(2) child in such a sleep."""
    source = tmp_path / "vfork.c"
    source.write_text("#include <unistd.h>\n"
                      "int main(void) { if (vfork() == 0) { pause(); _exit(0); } for (;;) pause(); }\n")
    subprocess.run(["cc", "-o", tmp_path / "vfork", source], check=True)
    target = subprocess.Popen([tmp_path / "vfork"])
    child = wait_for(lambda: [pid for pid, _, _ in children_of(target.pid)], "no child")[0]
    try:
        wait_for(lambda: state_of(target.pid)[0] == "D", "it doesn't wait")
        result = snapshot.run(target.pid)
        assert result.returncode == 1 and "uninterruptible sleep" in result.stderr
        assert state_of(target.pid) == ("D", 0)
    finally:
        os.kill(child, signal.SIGKILL)
    wait_for(lambda: state_of(target.pid)[0] == "S", "it doesn't go on")
    target.kill()
    target.wait()


def test_a_thread_that_cannot_be_stopped_is_let_go_when_it_can(snapshot, tmp_path, without_gdb):
    source = tmp_path / "vfork.c"
    source.write_text("#include <pthread.h>\n#include <unistd.h>\n"
                      "static void *wait(void *x) { if (vfork() == 0) { sleep(2); _exit(0); } for (;;) pause(); }\n"
                      "int main(void) { pthread_t t; pthread_create(&t, NULL, wait, NULL); for (;;) pause(); }\n")
    subprocess.run(["cc", "-o", tmp_path / "vfork", source, "-lpthread"], check=True)
    target = subprocess.Popen([tmp_path / "vfork"])
    try:
        time.sleep(0.3)
        result = snapshot.run(target.pid, env={"PATH": without_gdb})
        assert result.returncode == 0 and "can't be stopped" in result.stderr, result.stderr
        time.sleep(3)
        for tid in os.listdir(f"/proc/{target.pid}/task"):
            assert state_of(target.pid, tid) == ("S", 0)
    finally:
        target.kill()
        target.wait()


# What is left behind where something ends it.

def leftovers(snapshot):
    return list(snapshot.out.iterdir()) if snapshot.out.exists() else []


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_snapshot_leaves_nothing(snapshot, steady, signo):
    target = steady("spin", "memory", 512)
    process = snapshot.start(target.pid)
    wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
    assert [child for child in children_of(target.pid) if child[1] == "t"], "there is a clone"
    process.send_signal(signo)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 1 and f"interrupted by {signo.name}" in err
    assert not leftovers(snapshot)
    target.assert_goes_on()
    assert not children_of(target.pid)


def test_a_killed_snapshot_leaves_no_process(snapshot, steady):
    target = steady("spin", "memory", 512)
    process = snapshot.start(target.pid)
    wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
    worker, = open(f"/proc/{process.pid}/task/{process.pid}/children").read().split()
    process.kill()
    process.wait()
    wait_for(lambda: not os.path.exists(f"/proc/{worker}"), "the worker goes on")
    target.assert_goes_on()


@pytest.mark.parametrize("modes", [
    ("spin", "nanosleep", "futex", "poll", "read", "idle", 3, "signals", "children", "threads", "memory", 16, "areas"),
    ("busy", "spin"),
])
def test_a_hundred_killed_snapshots_leave_the_process_as_it_was(snapshot, steady, quick, modes):  # noqa: F811
    target = steady(*modes)
    seed = random.randrange(1 << 32)
    random.seed(seed)
    for _ in range(100):
        process = snapshot.start(target.pid)
        time.sleep(random.uniform(0, 0.08))
        process.kill()
        process.communicate()
        assert target.process.poll() is None, (seed, target.process.returncode, target.lines[-1])
    target.assert_goes_on()
    shutil.rmtree(snapshot.out, ignore_errors=True)  # each may have been killed before it was made
    snapshot(target.pid)
    target.assert_goes_on()


def test_zombies_of_killed_snapshots_are_reaped_by_the_next(snapshot, steady, quick):  # noqa: F811
    target = steady("spin", "memory", 256)
    for i in range(5):
        process = snapshot.start(target.pid)
        wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
        process.kill()
        process.communicate()
        wait_for(lambda: [state for _, state, _ in children_of(target.pid)] == ["Z"] * (i + 1), "no zombie")
        shutil.rmtree(snapshot.out)
    snapshot(target.pid)
    assert not children_of(target.pid)
    target.assert_goes_on()


def test_a_killed_snapshot_runs_none_of_the_programs_handlers(snapshot, steady, tmp_path):
    """The clone is in the program's process group, too."""
    target = steady(executable=compile_program(tmp_path, "group", COUNTING + """
        #include <signal.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/mman.h>
        static volatile int *handled;
        static pid_t self;
        static void handle(int signo) { (void)signo; handled[getpid() != self]++; }
        int main(void)
        {
            handled = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            self = getpid();
            setpgid(0, 0);
            signal(SIGUSR1, handle);
            memset(malloc(300 << 20), 7, 300 << 20);
            for (;; usleep(100000)) {
                printf("%d %d\\n", handled[0], handled[1]);
                fflush(stdout);
            }
        }
        """))
    process = snapshot.start(target.pid)
    wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
    os.killpg(target.pid, signal.SIGUSR1)
    wait_for(lambda: target.lines[-1].startswith("1 "), "no signal came")
    process.kill()
    process.communicate()
    wait_for(lambda: [state for _, state, _ in children_of(target.pid)] == ["Z"], "the clone lives")
    before = len(target.lines)
    wait_for(lambda: len(target.lines) > before + 3, "it stands still")
    assert target.lines[-1] == "1 0"


def test_a_process_that_dies_in_the_middle_ends_nothing_else(snapshot, steady, quick):  # noqa: F811
    seed = random.randrange(1 << 32)
    random.seed(seed)
    for _ in range(30):
        target = steady("spin", "memory", 32, "idle", 3)
        process = snapshot.start(target.pid)
        time.sleep(random.uniform(0, 0.08))
        target.end()
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 1), (seed, err)
        assert process.returncode == 0 or re.search("ended|no process|has ended", err), (seed, err)


def test_a_port_is_free_as_soon_as_its_process_is_dead(snapshot, quick):  # noqa: F811
    """The clone holds no file open."""
    script = ("import os, socket, time; s = socket.create_server(('127.0.0.1', 0)); "
              "x = os.urandom(300 << 20); print(s.getsockname()[1], flush=True); time.sleep(600)")
    target = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True)
    port = int(target.stdout.readline())
    process = snapshot.start(target.pid)
    wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
    target.kill()
    target.wait()
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert process.poll() is None, "the core was being read all the time"
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert whole_bundle(snapshot.out).account["capture"]["unreadable"] == 0


def test_a_connection_that_the_process_closes_ends_for_its_peer_at_once(snapshot, quick):  # noqa: F811
    script = ("import os, socket; s = socket.create_server(('127.0.0.1', 0)); x = os.urandom(300 << 20)\n"
              "print(s.getsockname()[1], flush=True); c = s.accept()[0]; c.recv(1); c.close(); s.accept()")
    target = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        peer = socket.create_connection(("127.0.0.1", int(target.stdout.readline())), timeout=2)
        process = snapshot.start(target.pid)
        wait_for(lambda: list(snapshot.out.glob("*.core.zip.part")) if snapshot.out.exists() else [], "no core")
        peer.send(b"x")
        assert peer.recv(1) == b""
        assert process.poll() is None, "the core was being read all the time"
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert whole_bundle(snapshot.out).account["snapshot"]["method"] == "clone"
    finally:
        target.kill()
        target.wait()


# With coreinit around.

def test_the_program_that_coreinit_traces_is_snapshotted_and_its_crash_captured(run, snapshot, without_gdb):
    init = run.start("--capture", "ptrace", "--", STEADY, "spin", "futex", "idle", 3, pid1=False,
                     env={"PATH": without_gdb})
    try:
        program = wait_for(lambda: [pid for pid, _, comm in children_of(init.pid) if comm == "steady"],
                           "no program")[0]
        time.sleep(0.3)
        assert state_of(program)[1] == init.pid
        bundle = snapshot(program, env={"PATH": without_gdb})
        assert bundle.account["program"] is True and bundle.account["capture"]["mode"] == "ptrace"
        wait_for(lambda: state_of(program)[1] == init.pid, "coreinit doesn't trace it again")
        os.kill(program, signal.SIGSEGV)
        _, err = init.communicate(timeout=60)
        assert init.returncode == 139, err
        crash = whole_bundle(run.cores)
        assert crash.account["cause"] == "signal" and crash.account["capture"]["source"] == "ptrace"
        assert crash.account["snapshot"] == {"pause_ms": None, "method": None, "why": None}
    finally:
        init.kill()


def test_without_a_word_it_is_the_program_of_the_coreinit_here(run, without_gdb, tmp_path):
    """In a pid namespace of their own, with coreinit's own settings."""
    script = (f"{COREINIT} --cores-dir {run.cores} --capture ptrace -- {STEADY} spin & sleep 1; "
              f"{CORECTL} snapshot; echo status $?; kill -KILL $!")
    result = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script],
                            env=clean_environment(PATH=without_gdb), text=True, capture_output=True, timeout=60)
    assert "status 0" in result.stdout, result.stderr
    assert bundles(run.cores)[0].account["program"] is True


def test_a_process_that_is_pid_1_is_snapshotted(snapshot, quick):  # noqa: F811
    unshare = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", STEADY, "spin", "nanosleep"],
                               stdout=subprocess.DEVNULL)
    try:
        pid = wait_for(lambda: [pid for pid, _, comm in children_of(unshare.pid) if comm == "steady"], "no PID 1")[0]
        bundle = snapshot(pid)
        assert bundle.account["comm"] == "steady"
        assert state_of(pid)[1] == 0 and not children_of(pid)
    finally:
        unshare.kill()
        unshare.wait()
