"""
An OOM kill, told from every other SIGKILL, in a real memory cgroup.

It takes root and a version 1 memory hierarchy that can be written; the counters of version 2 are
unit/init_oom_test.c's.
"""

import contextlib
import os
import pathlib
import signal
import uuid

import pytest

from bundle import bundles
from conftest import CRASH
from tracing import BY_PTRACE, wait_for

pytest_plugins = ["container", "tracing_fixtures"]

IN_KERNEL = ("--capture", "kernel", "--")
BOTH = pytest.mark.parametrize("mode", [IN_KERNEL, BY_PTRACE], ids=["kernel", "ptrace"])

LIMIT = 64 << 20
HOG = f"/usr/bin/python3 -c 'b = bytearray({4 * LIMIT})'"


def memory_hierarchy():
    """Where this process's cgroup of the memory controller is."""
    mount = None
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup ") and "memory" in after.split()[-1].split(","):
            mount = before.split()[3:5]
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if mount and "memory" in controllers.split(","):
            root, where = mount
            return pathlib.Path(where + (path.removeprefix(root.rstrip("/")) if
                                         path.startswith(root) else "/"))
    return None


@pytest.fixture
def in_cgroup():
    """A command's beginning, which runs the rest in a memory cgroup of its own."""
    hierarchy = memory_hierarchy()
    if not hierarchy:
        pytest.skip("there is no version 1 hierarchy with the memory controller")
    cgroup = hierarchy / f"coreinit-test-{uuid.uuid4().hex[:12]}"
    try:
        cgroup.mkdir()
        (cgroup / "memory.limit_in_bytes").write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made: {error}")
    # Where the machine has swap, what is killed would be swapped out.
    with contextlib.suppress(OSError):
        (cgroup / "memory.memsw.limit_in_bytes").write_text(str(LIMIT))
    yield ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh"]
    wait_for(lambda: not (cgroup / "cgroup.procs").read_text(), "somebody is left in the cgroup")
    cgroup.rmdir()


@BOTH
def test_a_program_that_is_killed_for_want_of_memory_is_told_and_collected(start, in_cgroup, mode):
    container = start("", *mode, "sh", "-c", "exec " + HOG, wrapper=in_cgroup)
    assert container.status() == 137
    call, = container.stand_in.calls()
    assert (call["wait_status"], call["oom_kills"]) == (signal.SIGKILL, 1)
    assert call["is_program"] and not call["is_brief"]
    assert "was killed by SIGKILL, by the kernel for want of memory" in container.said.text()


@BOTH
def test_somebody_elses_sigkill_is_none(start, in_cgroup, mode):
    container = start("", *mode, "sh", "-c", "kill -KILL $$", wrapper=in_cgroup)
    assert container.status() == 137
    assert "nor by the kernel for want of memory" in container.said.text()
    assert container.stand_in.calls() == []


def test_a_sigkill_after_a_workers_oom_kill_is_none(start, in_cgroup):
    """The worker's own parent reaped it, and coreinit saw that as its tracer."""
    container = start("", *BY_PTRACE, "sh", "-c", HOG + "; kill -KILL $$", wrapper=in_cgroup)
    assert container.status() == 137
    assert "nor by the kernel for want of memory" in container.said.text()
    assert [call["is_program"] for call in container.stand_in.calls()] == [False]


def test_a_worker_that_a_shell_tells_of_is_collected(start, in_cgroup):
    container = start("", *IN_KERNEL, "sh", "-c", HOG + "; exit $?", wrapper=in_cgroup)
    assert container.status() == 137
    call, = container.stand_in.calls()
    assert (call["wait_status"], call["oom_kills"]) == (137, 1)


def test_a_traced_worker_is_collected_whoever_reaps_it(start, in_cgroup):
    container = start("", *BY_PTRACE, "sh", "-c", HOG + "; exit 4", wrapper=in_cgroup)
    assert container.status() == 4
    call, = container.stand_in.calls()
    assert (call["wait_status"], call["oom_kills"], call["is_program"]) == (9, 1, False)
    assert "a process, python3 (pid" in container.said.text()


@BOTH
def test_a_program_that_needs_too_much_memory_is_started_again(start, in_cgroup, mode):
    script = f"echo life >> lives; [ $(wc -l < lives) -gt 1 ] || exec {HOG}; exit 3"
    container = start("", "--on-crash", "restart", *mode, "sh", "-c", script, wrapper=in_cgroup)
    assert container.status() == 3
    assert len(container.stand_in.calls()) == 1


@BOTH
def test_the_collectors_own_kill_is_told_and_it_is_started_once_more(start, in_cgroup, mode):
    container = start(f"if record.attempt == 1: b = bytearray({4 * LIMIT})", *mode, CRASH, "segv",
                      wrapper=in_cgroup)
    assert container.status() == 139
    assert [call["attempt"] for call in container.stand_in.calls()] == [1, 2]
    assert "corectl was killed by SIGKILL, for want of memory, while it collected" in container.said.text()


@BOTH
def test_where_memory_is_short_the_collector_goes_before_the_program(start, in_cgroup, mode):
    """The program, which has more of it, lives on."""
    script = (f"{CRASH} orphan 0; exec /usr/bin/python3 -c 'import time, os\n"
              f"b = bytearray({LIMIT // 2})\nos.close(os.open(\"../go\", os.O_CREAT))\n"
              "while not os.path.exists(\"../words\"): time.sleep(0.02)'")
    container = start("wait_for_go()\n"
                      f"if record.attempt == 1: b = bytearray({LIMIT})\n"
                      "say('done')", *mode, "sh", "-c", script, wrapper=in_cgroup)
    assert container.status() == 0
    assert "for want of memory, while it collected" in container.said.text()


def test_the_kill_is_the_bundles_cause(run, in_cgroup):
    result = run("--", "sh", "-c", "exec " + HOG, wrapper=in_cgroup)
    assert result.returncode == 137
    bundle, = bundles(run.cores)
    assert bundle.account["cause"] == "oom-kill", result.stderr
    assert os.path.basename(bundle.account["exe"]).startswith("python3")
