"""A bundle from every crash, whatever the host's settings are: real containers, real crashes.

kernel.core_pattern is the whole machine's: CTest runs this file alone.
"""

import json
import re
import signal
import socket
from pathlib import Path

import core_pattern
import pytest
from bundle import bundles
from container import CORE_LIMIT, COREINIT, check_bundle, check_crash, on
from engine import unavailable

# Where the host sends cores, and the banner's words where those are out of the kernel's reach.
PATTERNS = {
    "pipe": ("|{catcher} %h %P", "pipes cores to"),
    "missing": ("/nonexistent/coreinit/core.%p", "points at /nonexistent/coreinit"),
    "empty": ("", "is empty"),
    "relative": ("core", "nothing can be written"),
}
USERS = {
    "root": (),
    "uid 1000": ("--user", "1000:1000"),
    "no capability": ("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
}
LIMITS = {
    "no ulimit": (),
    "core=-1": ("--ulimit", "core=-1"),
    "core=0:0": ("--ulimit", "core=0:0"),
}

by_ptrace = pytest.mark.parametrize("pattern", ["pipe"], indirect=True)
by_kernel = pytest.mark.parametrize("pattern", ["relative"], indirect=True)
PTRACE = ("-e", "COREINIT_CAPTURE=ptrace")
UID_1000 = USERS["uid 1000"]


class Catcher:
    """A program for core_pattern, which keeps the beginning of each core that it gets. Those that
    crash outside of containers are others'."""

    def __init__(self, directory):
        self.directory = directory
        self.program = directory / "catch"
        keep = f'[ "$1" = {socket.gethostname()} ] || exec head -c 4096 >{directory}/core.$2'
        self.program.write_text(f"#!/bin/sh\n{keep}\n")
        self.program.chmod(0o755)

    def take(self):
        """How many cores came since the last time."""
        cores = list(self.directory.glob("core.*"))
        for core in cores:
            core.unlink()
        return len(cores)


@pytest.fixture(scope="module")
def catcher(tmp_path_factory):
    return Catcher(tmp_path_factory.mktemp("caught"))


@pytest.fixture(scope="module")
def sysctl():
    with core_pattern.changeable() as set_value:
        yield set_value


@pytest.fixture
def pattern(request, sysctl, catcher):
    """Sets the host's core_pattern. A process that was captured by ptrace leaves no second core."""
    sysctl(core_pattern.PATTERN, PATTERNS[request.param][0].format(catcher=catcher.program))
    sysctl(core_pattern.USES_PID, "0")
    yield request.param
    assert catcher.take() == 0


@pytest.fixture(scope="module")
def capture_image(build, debian):
    """Two programs that are set-uid root and one with AddressSanitizer besides."""
    return build(
        "capture",
        f"""
        FROM {debian}
        COPY asan /usr/bin/crash-asan
        RUN install -m 4755 /usr/bin/crash /usr/bin/crash-suid \
            && install -m 4755 /usr/bin/id /usr/bin/id-suid
        """,
    )


@pytest.fixture(scope="module")
def static_musl(build_bare, coreinit):
    """As Alpine would link it."""
    return build_bare("static-musl", coreinit, "static-musl")


@pytest.fixture(scope="module")
def default_core_limit(engine, debian):
    options = ("--entrypoint", "sh")
    return engine.run(debian, "-c", "ulimit -H -c", options=options).stdout.strip()


@pytest.fixture
def without_ptrace(tmp_path):
    """A seccomp profile without ptrace(2), as the engine's own is before Linux 4.8."""
    denied = {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"}
    profile = tmp_path / "seccomp.json"
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [denied]}))
    return ("--security-opt", f"seccomp={profile}")


def banner(log):
    """The mode that the first line names, and why."""
    return re.search(r": capture (\w+) \((.*)\), cores dir", log).groups()


def check_mode(result, bundle, mode, why):
    """The banner and the bundle agree on how a crash is captured, and the log doesn't recant."""
    said_mode, said_why = banner(result.stderr)
    assert said_mode == mode and why in said_why
    capture = bundle.account["capture"]
    assert (capture["mode"], capture["why"], capture["source"]) == (mode, said_why, mode)
    assert capture["truncated"] is False and capture["no_core"] is None
    assert "will give no core" not in result.stderr


def no_core_among(changes):
    """Nothing was left in the container's own file system."""
    return all(change.endswith(" /cores") for change in changes)


def test_the_pipe_of_these_tests_gets_what_the_kernel_dumps(engine, debian, sysctl, catcher):
    """Or that it got nothing would prove nothing."""
    sysctl(core_pattern.PATTERN, PATTERNS["pipe"][0].format(catcher=catcher.program))
    engine.run(debian, "-c", "/usr/bin/crash segv; true", options=("--entrypoint", "sh"))
    if not catcher.take():
        unavailable("the kernel doesn't reach this file system: are the tests in a container?")


# The matrix


def expected(pattern, user, hard_limit):
    """Mode and reason: the kernel's way where it leads anywhere."""
    if pattern in ("missing", "relative") and hard_limit == "0":
        return "ptrace", "core limit is 0"
    if pattern == "relative" and user != "uid 1000":  # whose working directory is root's
        return "kernel", "is a file in the working directory"
    return "ptrace", PATTERNS[pattern][1]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("pattern", PATTERNS, indirect=True)
def test_a_crash_leaves_a_bundle(
    engine, debian, default_core_limit, catcher, pattern, user, limit, cores, tmp_path
):
    hard_limit = {"no ulimit": default_core_limit, "core=-1": "unlimited"}.get(limit, "0")
    options = on(cores, *USERS[user], *LIMITS[limit])
    result, changes = engine.run_and_diff(debian, options=options)
    check_mode(result, check_crash(result, cores, tmp_path), *expected(pattern, user, hard_limit))
    assert no_core_among(changes)
    if pattern == "pipe" and hard_limit == "0":
        # A pipe heeds no limit but 1 (fs/coredump.c), to which 0 can't be raised.
        assert catcher.take() == 1


# Images and programs that the kernel would leave without a core


@by_ptrace
@pytest.mark.parametrize("image", ["scratch", "musl", "static_musl"])
def test_a_crash_leaves_a_bundle_from(engine, request, pattern, image, cores, tmp_path):
    image = request.getfixturevalue(image)
    result = engine.run(image, options=on(cores, *UID_1000))
    check_mode(result, check_crash(result, cores, tmp_path), "ptrace", "pipes cores to")


@by_ptrace
@pytest.mark.parametrize(
    "options", [("--read-only",), ("--init",), ("--read-only", *UID_1000)], ids=" ".join
)
def test_a_crash_leaves_a_bundle_with(engine, debian, pattern, options, cores, tmp_path):
    result = engine.run(debian, options=on(cores, *options))
    check_mode(result, check_crash(result, cores, tmp_path), "ptrace", "pipes cores to")


@by_ptrace
@pytest.mark.parametrize("user", ["root", "uid 1000"])
@pytest.mark.parametrize(
    "command, top",
    [
        (("nodump",), "crash_here"),
        (("chdir", "/sys"), "crash_here"),
        (("overflow",), "recurse"),
        (("threads", "500"), "crash_here"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_bundle_is_left_by(engine, debian, pattern, user, command, top, cores, tmp_path):
    options = on(cores, *USERS[user])
    result = engine.run(debian, "/usr/bin/crash", *command, options=options)
    bundle = check_crash(result, cores, tmp_path, top=top)
    check_mode(result, bundle, "ptrace", "pipes cores to")
    threads = re.findall(r"^Thread \d+", bundle.stacktrace, re.M)
    assert len(set(threads)) == (501 if command[0] == "threads" else 1)


@by_ptrace
def test_a_program_that_gives_up_root_is_bundled(engine, debian, pattern, cores, tmp_path):
    """As gosu and su-exec do it: its memory isn't root's to read without CAP_SYS_PTRACE."""
    options = on(cores, "--entrypoint", COREINIT)
    command = ("--", "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
    result = engine.run(debian, *command, "/usr/bin/crash", "segv", options=options)
    bundle = check_crash(result, cores, tmp_path)
    assert bundle.account["uid"] == 1000
    check_mode(result, bundle, "ptrace", "pipes cores to")


@by_ptrace
def test_a_shells_child_is_bundled_once(engine, debian, pattern, cores, tmp_path):
    script = "/usr/bin/crash segv; exit $?"
    result = engine.run(debian, "sh", "-c", script, options=on(cores, *UID_1000))
    bundle = check_crash(result, cores, tmp_path)
    assert bundle.account["comm"] == "crash"
    assert bundle.account["program"] is False


@by_ptrace
def test_a_workers_crash_is_bundled_while_its_parent_lives_on(
    engine, debian, pattern, cores, tmp_path
):
    container = engine.start(
        debian,
        *("/usr/bin/crash", "fork-worker", "60"),
        options=on(cores, *UID_1000),
        until="bundle ",
    )
    processes = engine("top", container, "-o", "pid,comm").stdout.split()
    assert processes[1::2] == ["COMMAND", "coreinit", "crash"]
    engine("kill", "-s", "TERM", container)
    status, log = engine.finish(container)
    assert status == 128 + signal.SIGTERM, log
    assert check_bundle(cores, tmp_path).account["program"] is False


@by_ptrace
def test_a_parent_sees_the_signal_that_its_worker_died_of(engine, debian, pattern, cores):
    command = ("/usr/bin/crash", "fork-worker", "0")
    result = engine.run(debian, *command, options=on(cores))
    assert (result.returncode, result.stdout) == (0, f"worker: signal {signal.SIGSEGV:d}\n")


@by_ptrace
def test_memory_that_was_never_touched_costs_nothing(engine, debian, pattern, cores, tmp_path):
    command = ("/usr/bin/crash", "big-sparse", str(1 << 40))
    result = engine.run(debian, *command, options=on(cores))
    assert check_crash(result, cores, tmp_path).core_entry().file_size < 10 << 20


@by_ptrace
@pytest.mark.parametrize("user", ["root", "uid 1000"])
def test_asan_turns_cores_off_in_vain(engine, capture_image, pattern, user, cores, tmp_path):
    """It sets the core limit to 0, and maps 20 TiB for its shadow."""
    options = on(cores, *USERS[user], "-e", "ASAN_OPTIONS=handle_segv=0")
    result = engine.run(capture_image, "/usr/bin/crash-asan", "segv", options=options)
    bundle = check_crash(result, cores, tmp_path)
    check_mode(result, bundle, "ptrace", "pipes cores to")
    assert bundle.core_entry().file_size < 100 << 20


@by_ptrace
@pytest.mark.parametrize("user", ["root", "uid 1000"])
def test_a_program_that_traces_itself_ends_as_untraced(engine, capture_image, pattern, user, cores):
    """As LeakSanitizer does at the end: a process has one tracer, and coreinit steps aside."""
    options = on(cores, *USERS[user])
    result = engine.run(capture_image, "/usr/bin/crash-asan", "exit", "3", options=options)
    assert banner(result.stderr)[0] == "ptrace"
    assert result.returncode == 3 and "LeakSanitizer" not in result.stderr


@by_ptrace
def test_with_gdb_the_stack_trace_is_gdbs(engine, scratch_gdb, pattern, cores, tmp_path):
    """Though there is no core on any disk for it."""
    result = engine.run(scratch_gdb, options=on(cores))
    bundle = check_crash(result, cores, tmp_path)
    check_mode(result, bundle, "ptrace", "pipes cores to")
    assert "crash_here (value=" in bundle.stacktrace


@pytest.mark.parametrize("pattern", ["pipe", "relative"], indirect=True)
def test_dontdump_is_honoured(engine, debian, pattern, cores, tmp_path):
    result = engine.run(debian, "/usr/bin/crash", "dontdump", options=on(cores, *CORE_LIMIT))
    bundle = check_crash(result, cores, tmp_path)
    assert bundle.account["capture"]["source"] == {"pipe": "ptrace", "relative": "kernel"}[pattern]
    core = (tmp_path / "core").read_bytes()
    assert b"K" * 65536 in core
    assert b"D" * 4096 not in core


# Asked for


@by_kernel
@pytest.mark.parametrize("user", ["root", "uid 1000"])
def test_ptrace_as_asked_leaves_no_second_core(engine, debian, pattern, user, cores, tmp_path):
    """The kernel could have written one."""
    options = on(cores, *USERS[user], "--ulimit", "core=-1", "-w", "/cores")
    result, changes = engine.run_and_diff(
        debian,
        *("--capture", "ptrace", "--", "/usr/bin/crash", "segv"),
        options=(*options, "--entrypoint", COREINIT),
    )
    bundle = check_crash(result, cores, tmp_path)
    check_mode(result, bundle, "ptrace", "asked")
    assert no_core_among(changes)
    owner = 1000 if user == "uid 1000" else 0
    assert {path.stat().st_uid for path in cores.iterdir()} == {owner}


@by_kernel
def test_ptrace_follows_where_the_kernel_cannot_dump(engine, debian, pattern, cores, tmp_path):
    """The program's later working directory can't be foreseen at its start."""
    command = ("/usr/bin/crash", "chdir", "/sys")
    result = engine.run(debian, *command, options=on(cores, *PTRACE))
    check_mode(result, check_crash(result, cores, tmp_path), "ptrace", "asked")


@by_ptrace
def test_kernel_as_asked_says_that_nothing_will_come(engine, debian, pattern, cores, catcher):
    result = engine.run(debian, options=on(cores, "-e", "COREINIT_CAPTURE=kernel"))
    assert result.returncode == 128 + signal.SIGSEGV
    assert banner(result.stderr)[0] == "kernel"
    assert "a crash will give no core: the host's core_pattern pipes cores to" in result.stderr
    (bundle,) = bundles(cores)
    assert bundle.account["capture"]["source"] == "none"
    assert catcher.take() == 1


# Where nobody may trace


@by_kernel
def test_where_ptrace_is_denied_the_kernel_does_it(
    engine, debian, pattern, without_ptrace, cores, tmp_path
):
    options = on(cores, *CORE_LIMIT, *without_ptrace)
    result = engine.run(debian, options=(*options, *PTRACE))
    bundle = check_crash(result, cores, tmp_path)
    check_mode(result, bundle, "kernel", "is a file in the working directory")
    assert "not traced: " in result.stderr and "seccomp" in result.stderr


@by_ptrace
def test_where_both_ways_are_barred_it_is_said(
    engine, debian, pattern, without_ptrace, cores, catcher
):
    result = engine.run(debian, options=on(cores, *without_ptrace))
    assert result.returncode == 128 + signal.SIGSEGV
    assert banner(result.stderr)[0] == "kernel"
    assert "not traced: " in result.stderr and "seccomp" in result.stderr
    assert "a crash will give no core: the host's core_pattern pipes cores to" in result.stderr
    (bundle,) = bundles(cores)
    assert bundle.account["capture"]["source"] == "none"
    assert catcher.take() == 1


@by_ptrace
def test_where_no_bundle_can_be_kept_it_is_said_before(engine, debian, pattern):
    """The core is in the process alone; the kernel would at least have left a file."""
    command = ("/usr/bin/crash", "exit", "0")
    result = engine.run(debian, *command, options=(*UID_1000, "--read-only"))
    assert "a crash will leave no bundle: /cores can't be written" in result.stderr


@by_ptrace
def test_a_set_uid_program_runs_as_its_owner(engine, capture_image, pattern, cores):
    """A traced one wouldn't: execve(2)."""
    result = engine.run(capture_image, "id-suid", "-u", options=on(cores, *UID_1000))
    assert (result.returncode, result.stdout) == (0, "0\n")
    assert banner(result.stderr)[0] == "kernel"
    assert "not traced: id-suid is set-uid" in result.stderr


@by_ptrace
def test_a_set_uid_child_is_warned_of(engine, capture_image, pattern, cores):
    command = ("sh", "-c", "id-suid -u; exit 3")
    result = engine.run(capture_image, *command, options=on(cores, *UID_1000))
    assert (result.returncode, result.stdout) == (3, "1000\n")
    assert "executed a set-uid or set-gid program, which gains nothing while it is traced" in result.stderr


@by_ptrace
def test_a_set_uid_programs_crash_is_told(engine, capture_image, pattern, cores):
    options = on(cores, *UID_1000)
    result = engine.run(capture_image, "/usr/bin/crash-suid", "segv", options=options)
    assert result.returncode == 128 + signal.SIGSEGV
    assert "a crash will give no core" in result.stderr
    (bundle,) = bundles(cores)
    assert bundle.account["capture"]["no_core"]


@by_ptrace
@pytest.mark.parametrize("scope", ["0", "1"])
def test_yama_lets_a_parent_trace(engine, debian, sysctl, pattern, scope, cores, tmp_path):
    path = Path("/proc/sys/kernel/yama/ptrace_scope")
    if not path.exists():
        pytest.skip("this kernel has no Yama")
    sysctl(path, scope)
    result = engine.run(debian, options=on(cores, *UID_1000))
    check_mode(result, check_crash(result, cores, tmp_path), "ptrace", "pipes cores to")
