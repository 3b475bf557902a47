"""What gets out of a container whose memory is short, whose disk is none, or whose life is over."""

import hashlib
import json
import signal
import threading
import time
import zipfile

import pytest
from bundle import SUFFIXES, Bundle
from container import CORE_LIMIT, on
from s3_server import StrictS3, error

PTRACE = ("-e", "COREINIT_CAPTURE=ptrace")
KERNEL = ("-e", "COREINIT_CAPTURE=kernel", "-w", "/cores")
SHELL = ("/bin/sh", "-c")

# Swap would put off the end for long.
MEMORY = 64 << 20
LITTLE_MEMORY = ("--memory", str(MEMORY), "--memory-swap", str(MEMORY))
MORE_MEMORY = ("--memory", str(4 * MEMORY), "--memory-swap", str(4 * MEMORY))


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


def sending_to(s3, **more):
    """The host's network, where the server is."""
    variables = {**s3.env, **more}
    return ("--network", "host", *(word for pair in variables.items() for word in ("-e", "=".join(pair))))


def fetch(s3, where, may_lack=frozenset()):
    """The one crash in the bucket, each artifact as its account says."""
    where.mkdir()
    for key, content in s3.objects.items():
        (where / key.removeprefix("issue/")).write_bytes(content)
    bundles = [Bundle(where, account) for account in where.glob("*.crash.json")]
    bundle, = (bundle for bundle in bundles if bundle.account["cause"] == "signal")
    assert SUFFIXES - may_lack <= bundle.suffixes <= SUFFIXES, list(s3.objects)
    assert bundle.account["complete"]
    for artifact in bundle.account["artifacts"].values():
        if not artifact["file"]:
            assert artifact["error"]
            continue
        content = (where / artifact["file"]).read_bytes()
        assert artifact["sha256"] == hashlib.sha256(content).hexdigest()
        assert artifact["in_s3"]
    assert not s3.uploads
    return bundle


def is_sent(s3):
    """The whole crash: its account goes last, and the early form of that is another."""
    accounts = [json.loads(content) for key, content in s3.objects.items() if key.endswith(".crash.json")]
    return any(account["complete"] and account["cause"] == "signal" for account in accounts)


def wait_until(holds, engine, container):
    deadline = time.monotonic() + 240  # it has what others leave of disk and processor
    while not holds():
        assert time.monotonic() < deadline, engine.logs(container)
        time.sleep(0.1)


# The program


@pytest.mark.parametrize("command", [("/usr/bin/crash", "eat"), (*SHELL, "/usr/bin/crash eat; exit $?")],
                         ids=["itself", "a shell's child"])
def test_an_oom_kill_of_the_program_is_its_cause(engine, debian, cores, command):
    result = engine.run(debian, *command, options=on(cores, *PTRACE, *LITTLE_MEMORY))
    assert result.returncode == 128 + signal.SIGKILL, result.stderr
    account_path, = cores.glob("*.crash.json")
    account = Bundle(cores, account_path).account
    assert account["cause"] == "oom-kill", account
    assert account["signal"]["name"] == "SIGKILL"
    assert account["cgroup"]["oom_kills"] >= 1
    assert account["cgroup"]["memory_limit"] == MEMORY


def test_a_sigkill_from_outside_is_no_oom_kill(engine, debian, cores):
    options = on(cores, *PTRACE, *LITTLE_MEMORY, "-e", "COREINIT_REPORT=exits")
    result = engine.run(debian, "/usr/bin/crash", "kill-self", "KILL", options=options)
    assert result.returncode == 128 + signal.SIGKILL, result.stderr
    account_path, = cores.glob("*.crash.json")
    account = Bundle(cores, account_path).account
    assert account["cause"] == "kill"
    assert account["cgroup"]["oom_kills"] == 0


# The collector


# Once a file is there all memory is filled but what the rest needs: with another file, which can't
# be reclaimed. Of those that could be killed for it the collector goes first.
CRASH_AND_FILL = f"""
    (until set -- /cores/$0 && test -e "$1"; do :; done
     exec head -c {MEMORY - (3 << 20)} /dev/zero >/dev/shm/filler) &
    exec /usr/bin/crash segv"""


@pytest.mark.parametrize("capture, begun", [(KERNEL, ".*.journal"), (PTRACE, "*.core.zip")],
                         ids=["kernel", "ptrace"])
def test_a_crash_whose_collector_is_oom_killed_is_sent_by_the_next_life(
    engine, kernel_cores, debian, cores, s3, tmp_path, capture, begun
):
    """A server that says nothing keeps the collector at work until then. The one that follows it has memory, or is killed
    too: nothing is sent in this life. Once neither the process nor the kernel's core is there, what hadn't been bundled
    besides can't be any more."""
    is_killed = threading.Event()

    def keep_waiting(handler):
        is_killed.wait(60)
        return error(503, "SlowDown")(handler)

    s3.fail(keep_waiting, times=1_000_000)
    options = on(cores, *capture, *CORE_LIMIT, *sending_to(s3, AWS_MAX_ATTEMPTS="1"))
    container = engine.start(debian, *SHELL, CRASH_AND_FILL, begun, until="",
                             options=(*options, *LITTLE_MEMORY, "--shm-size", str(MEMORY)))
    wait_until(lambda: "corectl was killed by SIGKILL, for want of memory" in engine.logs(container), engine, container)
    engine("update", *MORE_MEMORY, container)
    is_killed.set()
    status, log = engine.finish(container)
    assert status in (128 + signal.SIGSEGV, 128 + signal.SIGKILL), log  # a process that is held may be chosen too
    assert not s3.objects, log
    s3.faults.clear()
    container = engine.start(debian, *SHELL, "echo ready; exec sleep 600", options=options, until="ready")
    wait_until(lambda: is_sent(s3), engine, container)
    engine("stop", container)
    _, log = engine.finish(container)
    bundle = fetch(s3, tmp_path / "fetched", may_lack={".executable", ".libs.zip"})
    assert " crash_here (" in bundle.stacktrace or " crash_here at " in bundle.stacktrace, log
    with zipfile.ZipFile(bundle.path(".core.zip")) as archive:
        assert archive.testzip() is None and archive.read("core").startswith(b"\x7fELF")
    assert not list(cores.glob("core*")), log


# Nowhere to write


@pytest.mark.parametrize("user", [(), ("--user", "1000:1000")], ids=["root", "uid 1000"])
def test_without_a_disk_all_goes_to_s3(engine, debian, s3, tmp_path, user):
    options = ("--read-only", "-e", "COREINIT_CORES_DIR=none", *user, *PTRACE, *sending_to(s3))
    result, changes = engine.run_and_diff(debian, "/usr/bin/crash", "segv", options=options)
    assert result.returncode == 128 + signal.SIGSEGV, result.stderr
    bundle = fetch(s3, tmp_path / "fetched")
    assert " crash_here (" in bundle.backtrace(tmp_path / "unpacked")
    assert not changes


# The next life


CRASH_ONCE = "test -e /cores/crashed && exec sleep 600; touch /cores/crashed; exec /usr/bin/crash segv"


def test_what_a_life_left_the_next_one_sends(engine, debian, cores, s3, tmp_path):
    """A container that is started again, with a volume for its cores."""
    s3.fail(error(503, "SlowDown"), times=1_000_000)
    container = engine("create", *on(cores, *PTRACE, *sending_to(s3, AWS_MAX_ATTEMPTS="1")), debian, *SHELL,
                       CRASH_ONCE).stdout.strip()
    engine.started.add(container)
    engine("start", "--attach", container, check=False)
    assert not s3.objects and len(list(cores.glob("*.crash.json"))) == 1, engine.logs(container)
    s3.faults.clear()
    engine("start", container)
    wait_until(lambda: is_sent(s3), engine, container)
    assert engine("inspect", "--format", "{{.State.Running}}", container).stdout == "true\n"
    engine("stop", container)
    status, log = engine.finish(container)
    assert status == 128 + signal.SIGTERM, log
    bundle = fetch(s3, tmp_path / "fetched")
    assert " crash_here (" in bundle.backtrace(tmp_path / "unpacked")
    assert s3.actions.count("CompleteMultipartUpload") <= len(SUFFIXES)
