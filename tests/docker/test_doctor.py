"""What corectl doctor foretells is what a crash then gives: real containers, real crashes.

kernel.core_pattern is the whole machine's: CTest runs this file alone.
"""

import json
import shutil

import core_pattern
import jsonschema
import pytest
from bundle import bundles
from container import CORECTL, on
from doctor import SCHEMA, Told
from test_capture import (
    LIMITS,
    PATTERNS,
    PTRACE,
    UID_1000,
    USERS,
    by_kernel,
    by_ptrace,
    expected,
)
from test_capture import (  # noqa: F401 - fixtures
    capture_image,
    catcher,
    default_core_limit,
    static_musl,
    sysctl,
    without_ptrace,
)

KERNEL = ("-e", "COREINIT_CAPTURE=kernel")
RUNS = ("sh", "-c", "echo ready; exec /usr/bin/crash sleep 60")


@pytest.fixture
def pattern(request, sysctl, catcher):
    """As test_capture's; but what the host's pipe gets is that one's business."""
    sysctl(core_pattern.PATTERN, PATTERNS[request.param][0].format(catcher=catcher.program))
    sysctl(core_pattern.USES_PID, "0")
    yield request.param
    catcher.take()


def ask(engine, container, *words, options=()):
    return Told(engine("exec", *options, container, CORECTL, "doctor", "--json", *words, check=False))


def predict(engine, image, *words, options=()):
    """Without a coreinit."""
    options = (*options, "--entrypoint", CORECTL)
    return Told(engine.run(image, "doctor", "--json", "--", *words, options=options))


class Running:
    """A container whose program waits to be killed."""

    def __init__(self, engine, image, cores, *options, command=RUNS, until="ready"):
        self.engine, self.cores = engine, cores
        self.container = engine.start(image, *command, options=on(cores, *options), until=until)

    def ask(self, *words, **options):
        return ask(self.engine, self.container, *words, **options)

    def crash(self, pid=None):
        """Kills it, or another process. The bundle comes back, if there is one."""
        if pid:
            self.engine("exec", self.container, "sh", "-c", f"kill -SEGV {pid}")
        else:
            self.engine("kill", "-s", "SEGV", self.container)
        self.status, self.log = self.engine.finish(self.container)
        return bundles(self.cores)


def check_came_true(told, found, log=""):
    """A crash gave what was told: a bundle, in that mode, with a core or for that reason without."""
    assert len(found) == told.verdict["captured"], log
    if not found:
        return
    account = found[0].account
    assert account["capture"]["mode"] == told.verdict["mode"]
    assert (".core.zip" in found[0].suffixes) == told.verdict["core"], log
    assert (account["capture"]["source"] != "none") == told.verdict["core"]


def directory(cores, name):
    """A cores dir of its own."""
    path = cores / name
    path.mkdir()
    path.chmod(0o1777)
    return path


# The matrix


# Why the kernel gives no core, where that isn't the limit.
CAUSES = {
    "pipe": "pipes cores to",
    "missing": "/nonexistent/coreinit",
    "empty": "turns cores off",
    "relative": "not writable",
}


def causes(pattern, user, hard_limit):
    """A word of the first reason, and the checks that name one."""
    in_the_way = set()
    if pattern != "relative" or user == "uid 1000":
        in_the_way.add("core_pattern")
    if hard_limit == "0":
        in_the_way.add("core_limits")
    is_limit = hard_limit == "0" and pattern in ("missing", "relative")
    return "core limit" if is_limit else CAUSES[pattern], in_the_way


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("pattern", PATTERNS, indirect=True)
def test_what_is_foretold_comes(engine, debian, default_core_limit, pattern, user, limit, cores):
    hard_limit = {"no ulimit": default_core_limit, "core=-1": "unlimited"}.get(limit, "0")
    mode, why = expected(pattern, user, hard_limit)
    options = (*USERS[user], *LIMITS[limit])
    auto = Running(engine, debian, directory(cores, "auto"), *options)
    kernel = Running(engine, debian, directory(cores, "kernel"), *options, *KERNEL)

    told = auto.ask()
    assert told.verdict["mode"] == mode and told.verdict["ok"]
    assert why in told.finding("capture")
    told_kernel = kernel.ask()
    assert told_kernel.verdict["mode"] == "kernel"
    assert told_kernel.verdict["captured"] and told_kernel.verdict["delivered"]
    assert told_kernel.verdict["core"] == (mode == "kernel")
    if mode == "ptrace":
        word, in_the_way = causes(pattern, user, hard_limit)
        assert word in told_kernel.verdict["no_core"]
        assert told_kernel.failed == {"capture", *in_the_way}

    check_came_true(told, auto.crash(), auto.log)
    check_came_true(told_kernel, kernel.crash(), kernel.log)


# The same without a coreinit, and in the program's place


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("pattern", PATTERNS, indirect=True)
def test_a_prediction_is_what_a_start_then_decides(engine, debian, default_core_limit, pattern,
                                                   user, cores):
    mode, why = expected(pattern, user, default_core_limit)
    told = predict(engine, debian, "/usr/bin/crash", options=on(cores, *USERS[user]))
    assert told.verdict["prediction"] and told.verdict["ok"]
    assert told.verdict["mode"] == mode and why in told.finding("capture")
    options = on(cores, *USERS[user])
    told = Told(engine.run(debian, CORECTL, "doctor", "--json", options=options))
    assert not told.verdict["prediction"] and told.verdict["ok"]
    assert told.verdict["mode"] == mode


# What is special


@by_ptrace
@pytest.mark.parametrize(
    "image, command",
    [
        ("scratch", ("/crash", "sleep", "60")),
        ("musl", ("/crash", "sleep", "60")),
        ("static_musl", ("/crash", "sleep", "60")),
    ],
)
def test_any_image_is_seen_through(engine, request, pattern, image, command, cores):
    image = request.getfixturevalue(image)
    running = Running(engine, image, cores, *UID_1000, command=command, until="capture ptrace")
    told = running.ask()
    assert told.verdict["mode"] == "ptrace" and told.verdict["ok"]
    check_came_true(told, running.crash(), running.log)


@by_ptrace
@pytest.mark.parametrize("options", [("--read-only",), ("--init",)], ids=" ".join)
def test_options_of_the_engine_are_seen_through(engine, debian, pattern, options, cores):
    running = Running(engine, debian, cores, *options)
    told = running.ask()
    assert told.verdict["mode"] == "ptrace" and told.verdict["ok"]
    check_came_true(told, running.crash(told.verdict["pid"]), running.log)


@by_ptrace
def test_a_shells_child_can_be_asked_about(engine, debian, pattern, cores):
    command = ("sh", "-c", "echo ready; /usr/bin/crash sleep 60; exit $?")
    running = Running(engine, debian, cores, *UID_1000, command=command)
    told = running.ask("--name", "crash")
    assert "traces crash (pid" in told.finding("capture") and told.verdict["ok"]
    found = running.crash(told.verdict["pid"])
    check_came_true(told, found, running.log)
    assert found[0].account["comm"] == "crash"


WHAT_A_PROGRAM_DID = {
    "nodump": (("/usr/bin/crash", "nodump", "60"), "undumpable", "dumpable"),
    "chdir": (("sh", "-c", "cd /sys; echo ready; exec /usr/bin/crash sleep 60"), "read-only",
              "core_pattern"),
    "ulimit": (("sh", "-c", "ulimit -S -c 0; echo ready; exec /usr/bin/crash sleep 60"),
               "core limit", "core_limits"),
}


@by_kernel
@pytest.mark.parametrize("options", [(), PTRACE], ids=["auto", "ptrace"])
@pytest.mark.parametrize("user", ["root", "uid 1000"])
@pytest.mark.parametrize("what", WHAT_A_PROGRAM_DID)
def test_what_a_program_did_since_its_start_counts(engine, debian, pattern, what, user, options,
                                                   cores):
    """coreinit decided before."""
    command, word, check = WHAT_A_PROGRAM_DID[what]
    options = ("--ulimit", "core=-1", "-w", "/cores", *USERS[user], *options)
    until = "ready" if "sh" in command else "capture "
    running = Running(engine, debian, cores, *options, command=command, until=until)
    told = running.ask()
    assert told.verdict["mode"] == ("ptrace" if PTRACE[1] in options else "kernel")
    if told.verdict["mode"] == "kernel":
        assert word in told.verdict["no_core"]
        assert told.failed == {"capture", check}
        assert "COREINIT_CAPTURE=ptrace" in told.checks["capture"]["mend"]["docker"]
    check_came_true(told, running.crash(), running.log)


@by_kernel
def test_a_host_that_changed_since_the_start_is_noticed(engine, debian, pattern, sysctl, cores):
    running = Running(engine, debian, cores, "--ulimit", "core=-1")
    assert running.ask().verdict["mode"] == "kernel"
    sysctl(core_pattern.PATTERN, "/nonexistent/core")
    told = running.ask()
    assert (told.verdict["mode"], told.verdict["core"]) == ("kernel", False)
    assert "/nonexistent" in told.verdict["no_core"]
    check_came_true(told, running.crash(), running.log)


@by_ptrace
def test_where_both_ways_are_barred_both_are_named(engine, debian, pattern, without_ptrace, cores):
    running = Running(engine, debian, cores, *without_ptrace)
    told = running.ask()
    assert told.failed == {"capture", "core_pattern", "seccomp"}
    assert "seccomp" in told.finding("seccomp")
    check_came_true(told, running.crash(), running.log)


@by_kernel
def test_where_only_ptrace_is_barred_it_is_a_warning(engine, debian, pattern, without_ptrace, cores):
    running = Running(engine, debian, cores, "--ulimit", "core=-1", *without_ptrace)
    told = running.ask()
    assert told.verdict["ok"] and told.checks["seccomp"]["state"] == "warning"
    check_came_true(told, running.crash(), running.log)


@by_ptrace
def test_a_set_uid_program_is_named(engine, capture_image, pattern, cores):
    command = ("/usr/bin/crash-suid", "sleep", "60")
    running = Running(engine, capture_image, cores, *UID_1000, command=command, until="capture ")
    told = running.ask()
    assert (told.verdict["mode"], told.verdict["core"]) == ("kernel", False)
    assert "crash-suid is set-uid" in told.finding("capture")
    assert told.failed == {"capture", "core_pattern", "dumpable"}
    assert "SYS_PTRACE" in told.checks["capture"]["mend"]["ecs"]
    found = running.crash()
    assert ".core.zip" not in found[0].suffixes


@by_ptrace
def test_capture_that_is_off_is_told(engine, debian, pattern, cores):
    running = Running(engine, debian, cores, "-e", "COREINIT_CAPTURE=off", until="ready")
    told = running.ask()
    assert told.verdict["mode"] == "off" and told.failed == {"capture"}
    check_came_true(told, running.crash(), running.log)


@by_ptrace
def test_without_coreinit_it_is_told(engine, debian, pattern, cores):
    options = on(cores, "--entrypoint", "/usr/bin/crash")
    container = engine.start(debian, "signals", options=options, until="ready")
    told = ask(engine, container)
    assert told.verdict["mode"] == "none" and told.failed == {"coreinit"}
    engine("kill", container)
    engine.finish(container)


# Where bundles go


def ask_without_volume(engine, image, *options):
    container = engine.start(image, *RUNS, options=options, until="ready")
    told = ask(engine, container)
    engine("kill", container)
    engine.finish(container)
    return told


@by_ptrace
@pytest.mark.parametrize(
    "options, word",
    [
        ((), "the container's own layer"),
        (("--tmpfs", "/cores"), "tmpfs"),
        (("--read-only",), "Read-only file system"),
        (UID_1000, "Permission denied"),
    ],
    ids=["layer", "tmpfs", "read-only", "uid 1000"],
)
def test_a_place_that_does_not_last_is_no_delivery(engine, debian, pattern, options, word):
    told = ask_without_volume(engine, debian, *options)
    assert told.verdict["captured"] and told.verdict["core"] and not told.verdict["delivered"]
    assert told.failed == {"cores_dir"} and word in told.finding("cores_dir")


@by_ptrace
def test_the_place_is_looked_at_as_coreinits_user(engine, debian, pattern, cores):
    """Though corectl runs as root: docker exec -u."""
    shutil.chown(cores, 1000)
    cores.chmod(0o700)
    running = Running(engine, debian, cores, *UID_1000)
    told = running.ask(options=("-u", "0"))
    assert told.verdict["ok"]
    assert not list(cores.iterdir())
    check_came_true(told, running.crash(), running.log)


@by_ptrace
def test_little_memory_is_a_warning(engine, debian, pattern, cores):
    running = Running(engine, debian, cores, "-m", "40m")
    told = running.ask()
    assert told.checks["memory"]["state"] == "warning"
    assert "of 40 MiB" in told.finding("memory")
    running.crash()


# The crash test


def crash_test(engine, container, *options):
    command = ("exec", *options, container, CORECTL, "doctor", "--crash-test", "--json")
    result = engine(*command, check=False)
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, SCHEMA)
    test = answer["crash_test"]
    assert result.returncode == (0 if test["ok"] else 1), test["log"]
    return test


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("pattern", ["pipe", "relative"], indirect=True)
def test_the_crash_test_leaves_a_bundle_as_a_crash_would(engine, debian, pattern, user, cores):
    running = Running(engine, debian, cores, *USERS[user])
    test = crash_test(engine, running.container)
    assert test["ok"], test["log"]
    assert "corectl_crash_as_asked" in test["top_frame"]
    (bundle,) = bundles(cores)
    assert bundle.id == test["bundle"] and bundle.id.endswith("_crash-test")
    assert bundle.account["capture"]["mode"] == running.ask().verdict["mode"]
    assert "corectl_crash_as_asked" in bundle.stacktrace
    engine("kill", running.container)
    engine.finish(running.container)


@by_ptrace
def test_the_crash_test_fails_where_a_crash_would_leave_no_core(engine, debian, pattern, cores):
    running = Running(engine, debian, cores, *KERNEL)
    test = crash_test(engine, running.container)
    assert not test["core"] and not test["ok"]
    assert "left no core: the host's core_pattern pipes cores to" in test["log"]
    engine("kill", running.container)
    engine.finish(running.container)


@by_ptrace
def test_the_crash_test_goes_on_where_coreinit_runs_it(engine, debian, pattern, cores):
    """It is traced then itself."""
    result = engine.run(debian, CORECTL, "doctor", "--crash-test", options=on(cores))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "The crash test went well" in result.stdout
