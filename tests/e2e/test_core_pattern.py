"""Every kind of kernel.core_pattern: the core is found, or the log says why there is none.

The sysctl is the whole machine's: CTest runs this file alone.
"""

import os
import subprocess

import core_pattern
import pytest
from bundle import bundles
from conftest import CRASH
from core_pattern import PATTERN, USES_PID


@pytest.fixture
def sysctl():
    with core_pattern.changeable() as set_value:
        yield set_value


@pytest.mark.parametrize("uses_pid", ["0", "1"])
@pytest.mark.parametrize("pattern", [
    "core",
    "core.%p",
    "%e-%p-%s-%t.core",
    "core.%P.%i.%I.%E.%h.%u.%g.%d.%c.%f%%",
    "[%e]*?.%p",
    "core.%t.%",
    "{dir}/core.%p",
    "{dir}/core",
    "{dir}/%e.%s.%t",
    "{dir}/%h-%P-%c-100%%",
])
def test_a_file_pattern_is_found(run, without_gdb, tmp_path, sysctl, pattern, uses_pid):
    directory = tmp_path / "d"
    directory.mkdir()
    sysctl(PATTERN, pattern.format(dir=directory))
    sysctl(USES_PID, uses_pid)
    result, bundle = run.crash("--", CRASH, "segv", env={"PATH": without_gdb})
    assert ".core.zip" in bundle.suffixes, result.stderr
    assert bundle.core_entry().file_size > 10000
    assert not list(directory.iterdir()) and not list(run.cwd.iterdir())


def test_a_specifier_in_the_directory_is_expanded(run, without_gdb, tmp_path, sysctl):
    (tmp_path / "of-crash").mkdir()
    sysctl(PATTERN, f"{tmp_path}/of-%e/core")
    _, bundle = run.crash("--", CRASH, "segv", env={"PATH": without_gdb})
    assert ".core.zip" in bundle.suffixes


def test_a_thread_with_another_name_is_found(run, without_gdb, sysctl):
    """%e is the crashing thread's name, not the program's."""
    sysctl(PATTERN, "core.%e")
    _, bundle = run.crash("--", CRASH, "thread-segv", env={"PATH": without_gdb})
    assert ".core.zip" in bundle.suffixes


NOWHERE = {
    "|/bin/false %p": ("pipes cores to '/bin/false %p'", "/bin/false"),
    "": ("core_pattern is empty", "turns cores off"),
    "/nonexistent/dir/core.%p": ("points at /nonexistent/dir", "/nonexistent/dir"),
    "@/run/nobody.sock": ("sends cores to a socket", "socket"),
}


@pytest.mark.parametrize("pattern", NOWHERE)
def test_where_no_core_can_come_it_is_taken_from_the_process(run, sysctl, pattern):
    sysctl(PATTERN, pattern)
    sysctl(USES_PID, "0")
    result, bundle = run.crash("--", CRASH, "segv")
    assert result.returncode == 139
    before, _ = NOWHERE[pattern]
    assert "capture ptrace (" in result.stderr and before in result.stderr
    assert bundle.account["capture"]["source"] == "ptrace"
    assert ".core.zip" in bundle.suffixes


@pytest.mark.parametrize("pattern", NOWHERE)
def test_where_no_core_can_come_it_is_told_before_and_after(run, sysctl, pattern):
    before, after = NOWHERE[pattern]
    sysctl(PATTERN, pattern)
    sysctl(USES_PID, "0")
    script = f"(sleep 1.5; kill -SEGV $$) & exec {CRASH} sleep 60"
    result, bundle = run.crash("--capture", "kernel", "--", "sh", "-c", script)
    assert result.returncode == 139
    warning, = [line for line in result.stderr.splitlines() if "a crash will give no core" in line]
    assert before in warning and "mend: " in warning
    assert bundle.suffixes == {".crash.json", ".executable", ".libs.zip"}
    assert bundle.account["capture"]["source"] == "none"
    assert after in bundle.account["capture"]["no_core"]
    assert f"left no core: {bundle.account['capture']['no_core']}" in result.stderr


def leave_a_core(cwd):
    """A crash that nobody looks after."""
    subprocess.run(["prlimit", "--core=unlimited", CRASH, "abort"], cwd=cwd)


def test_an_old_core_of_the_same_name_is_not_taken(run, without_gdb, tmp_path, sysctl):
    """A leftover in the right place is older than the process, or of another pid."""
    sysctl(PATTERN, "core")
    leave_a_core(run.cwd)
    leftover = run.cwd / "core"
    assert leftover.exists()
    keep = leftover.read_bytes()
    limit = ["prlimit", "--core=0:0", "setpriv", "--bounding-set=-sys_resource"]
    _, bundle = run.crash("--capture", "kernel", "--", CRASH, "abort", env={"PATH": without_gdb},
                          wrapper=limit, pid1=False)
    assert ".core.zip" not in bundle.suffixes
    assert leftover.read_bytes() == keep


def test_cores_of_others_in_a_shared_directory_are_left_alone(run, without_gdb, tmp_path, sysctl):
    shared = tmp_path / "shared"
    shared.mkdir()
    sysctl(PATTERN, f"{shared}/core.%P")
    leave_a_core(run.cwd)
    others, = shared.iterdir()
    _, bundle = run.crash("--", CRASH, "segv", env={"PATH": without_gdb})
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert list(shared.iterdir()) == [others]
    assert os.stat(others).st_size > 10000


@pytest.mark.parametrize("name", ["%e.%h.%P", "%P"])
def test_a_workers_core_in_a_shared_directory_is_bundled(run, tmp_path, sysctl, name):
    """Its own parent reaps it, so that the core is all that tells of the crash: were addresses
    random, a look of PID 1's at the right moment would tell whose it is."""
    shared = tmp_path / "shared"
    shared.mkdir()
    sysctl(PATTERN, f"{shared}/core.{name}")
    script = (f"hostname some-container; exec setarch -R {run.coreinit} --"
              f" sh -c 'cd /; {CRASH} segv; exit 1'")
    wrapper = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
    subprocess.run([*wrapper, "sh", "-c", script], cwd=run.cwd, env=run.environment(), timeout=60)
    bundle, = bundles(run.cores)
    assert ".core.zip" in bundle.suffixes
    assert len(list(shared.iterdir())) == 1, "whose it is is not certain, so it stays"
