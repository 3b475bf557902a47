"""Processes that run on: snapshots and gdb in real containers, from within and from beside."""

import contextlib
import re
import signal
import subprocess
import time

import pytest
from bundle import whole_bundle
from container import COREINIT, CORECTL, on
from engine import REPOSITORY
from terminal import Terminal

STEADY = "/usr/bin/steady"
PTRACE = ("-e", "COREINIT_CAPTURE=ptrace")
KERNEL = ("-e", "COREINIT_CAPTURE=kernel")
UID_1000 = ("--user", "1000:1000")
TRACER = ("--cap-add", "SYS_PTRACE")


@pytest.fixture(scope="module")
def steady(programs):
    """A program that checks itself and counts."""
    source = REPOSITORY / "tests" / "programs" / "steady.c"
    binary = programs / "steady"
    subprocess.run(["gcc", "-pthread", "-g", "-O0", "-D_GNU_SOURCE", source, "-o", binary],
                   check=True)
    return binary


@pytest.fixture(scope="module")
def untouched(build, steady):
    """An application's image, which knows nothing of coreinit."""
    return build("untouched", f"FROM debian:bookworm-slim\nCOPY steady {STEADY}\n")


@pytest.fixture(scope="module")
def image(build, coreinit_gdb, steady):
    """The same with coreinit and a gdb."""
    return build("live", f"""
        FROM {coreinit_gdb} AS coreinit
        FROM debian:bookworm-slim
        COPY steady {STEADY}
        COPY glibc /usr/bin/crash
        COPY --from=coreinit /opt/coreinit /opt/coreinit
        ENTRYPOINT ["{COREINIT}", "--"]
        """)


@pytest.fixture
def start(engine):
    """Starts a container that counts; it ends with the test."""
    started = []

    def start(image, *command, options=()):
        container = engine.start(image, *command, options=options, until="\n")
        started.append(container)
        return container

    yield start
    for container in started:
        engine("kill", container, check=False)
        engine.remove(container)


def counts(engine, container):
    log = engine("logs", container).stdout
    assert "wrong" not in log, log
    return [int(line) for line in log.split()]


def check_goes_on(engine, container, is_traced=False):
    """It makes rounds, finds nothing changed, and nobody is left who holds it or copies it."""
    before = counts(engine, container)
    deadline = time.monotonic() + 20
    while counts(engine, container)[-1] <= before[-1]:
        assert time.monotonic() < deadline, "it stands still"
        time.sleep(0.1)
    processes = engine("top", container, "-o", "pid,stat,comm").stdout.splitlines()[1:]
    assert not [line for line in processes if re.match(r"\s*\d+\s+[tTZ]", line)], processes
    assert sum("steady" in line for line in processes) == 1, processes
    pid, = (line.split()[0] for line in processes if "steady" in line)
    with open(f"/proc/{pid}/status") as status:
        tracer = re.search(r"TracerPid:\t(\d+)", status.read()).group(1)
    assert (tracer != "0") == is_traced


def check_snapshot(result, cores, tmp_path, function, threads):
    """A whole bundle, whose stacks gdb finds too."""
    assert result.returncode == 0, result.stderr
    bundle = whole_bundle(cores)
    assert bundle.account["cause"] == "snapshot" and bundle.account["comm"] == "steady"
    assert 0 < bundle.account["snapshot"]["pause_ms"] < 2000
    assert f" {function} (" in bundle.stacktrace or f" {function} at " in bundle.stacktrace
    stacks = bundle.stacks(tmp_path)
    assert len(re.findall(r"^Thread \d+ ", stacks, re.M)) == threads
    assert f" {function} (" in stacks
    return bundle


def beside(engine, image, container, cores, *command, options=()):
    """A side container that shares the other one's pid namespace, as Kubernetes has them."""
    return engine.run(image, *command, options=on(
        cores, f"--pid=container:{container}", "--entrypoint", CORECTL, *options))


LOOP = (("spin",), "spin", 2)
THREADS = (("idle", "500", "nanosleep"), "idle", 502)


@pytest.mark.parametrize("capture", [KERNEL, PTRACE], ids=["untraced", "traced"])
@pytest.mark.parametrize("user", [(), UID_1000], ids=["root", "uid 1000"])
@pytest.mark.parametrize("command, function, threads", [LOOP, THREADS], ids=["loop", "500 threads"])
def test_a_snapshot_by_docker_exec(
    engine, image, start, command, function, threads, user, capture, cores, tmp_path
):
    container = start(image, STEADY, *command, options=on(cores, *user, *capture))
    result = engine("exec", container, CORECTL, "snapshot", check=False)
    bundle = check_snapshot(result, cores, tmp_path, function, threads)
    assert bundle.account["snapshot"]["method"] == "clone"
    check_goes_on(engine, container, is_traced=capture == PTRACE)


@pytest.mark.parametrize("app, side", [((), ()), ((), TRACER), (UID_1000, TRACER),
                                       (UID_1000, UID_1000), (UID_1000, ())],
                         ids=["root", "root with SYS_PTRACE", "app as 1000 with SYS_PTRACE",
                              "both as 1000", "app as 1000"])
def test_a_snapshot_from_a_side_container(
    engine, untouched, image, start, app, side, cores, tmp_path
):
    container = start(untouched, STEADY, "spin", options=app)
    result = beside(engine, image, container, cores, "snapshot", "--name", "steady", options=side)
    check_snapshot(result, cores, tmp_path, "spin", 2)
    check_goes_on(engine, container)


def test_a_snapshot_from_beside_of_what_coreinit_traces(
    engine, image, start, cores, tmp_path
):
    """The sidecar asks the other container's coreinit, which is the tracer again afterwards."""
    own_cores = tmp_path / "own"
    own_cores.mkdir()
    container = start(image, STEADY, "spin", options=on(own_cores, *PTRACE))
    result = beside(engine, image, container, cores, "snapshot")
    check_snapshot(result, cores, tmp_path / "unpacked", "spin", 2)
    check_goes_on(engine, container, is_traced=True)
    engine("kill", "-s", "SEGV", container)
    assert int(engine("wait", container).stdout) == 128 + signal.SIGSEGV
    assert whole_bundle(own_cores).account["cause"] == "signal"


def test_out_says_where_the_bundle_goes(engine, image, start, cores, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    container = start(image, STEADY, "spin", options=on(cores, "-v", f"{out}:/out"))
    result = engine("exec", container, CORECTL, "snapshot", "--out", "/out", check=False)
    check_snapshot(result, out, tmp_path, "spin", 2)
    assert not list(cores.iterdir())


@pytest.mark.parametrize("capture", [KERNEL, PTRACE], ids=["untraced", "traced"])
@pytest.mark.parametrize("user", [(), UID_1000], ids=["root", "uid 1000"])
def test_gdb_gives_a_prompt_and_a_later_crash_is_captured(
    engine, image, start, user, capture, cores, tmp_path
):
    options = on(cores, *user, *capture, "-w", "/cores", "--ulimit", "core=-1")
    container = start(image, STEADY, "spin", options=options)
    terminal = Terminal("/usr/bin/docker", "exec", "-it", container, CORECTL, "gdb")
    terminal.expect(r"\(gdb\) ")
    terminal.type("set pagination off\nthread apply all bt\n")
    terminal.expect("spin")
    terminal.type("quit\n")
    with contextlib.suppress(AssertionError):
        terminal.expect(r"\(y or n\)", timeout=2)
        terminal.type("y\n")
    terminal.status()
    check_goes_on(engine, container, is_traced=capture == PTRACE)
    engine("kill", "-s", "SEGV", container)
    assert int(engine("wait", container).stdout) == 128 + signal.SIGSEGV
    bundle = whole_bundle(cores)
    assert bundle.account["capture"]["source"] == ("ptrace" if capture == PTRACE else "kernel")
