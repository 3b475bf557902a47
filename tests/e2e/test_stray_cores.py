"""Cores of processes that coreinit doesn't reap: their own parent does, and goes on."""

import signal
import subprocess
import time

import pytest
from bundle import SUFFIXES, bundles
from conftest import CORECTL, CRASH

# What appears is left alone that long: it may be a core that coreinit collects anyway.
GRACE = 3


def fake_corectl(tmp_path, script):
    path = tmp_path / "corectl"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return {"COREINIT_CORECTL": path}


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_a_worker_whose_parent_lives_on_is_bundled_while_it_does(run, tmp_path):
    init = run.start("--", CRASH, "fork-worker", "60", pid1=False)
    wait_for(lambda: list(run.cores.glob("*.crash.json")))
    assert init.poll() is None
    init.send_signal(signal.SIGTERM)
    init.communicate(timeout=20)
    bundle, = bundles(run.cores)
    assert bundle.suffixes == SUFFIXES
    assert bundle.account["signal"]["name"] == "SIGSEGV" and bundle.account["program"] is False
    assert bundle.path(".executable").read_bytes() == CRASH.read_bytes()
    assert "crash_here" in bundle.backtrace(tmp_path / "unpacked")
    assert not list(run.cwd.iterdir()), "it is the parent's fork, so it is ours for certain"


@pytest.mark.parametrize("script, status", [
    (f"{CRASH} segv; sleep {GRACE + 2}; exit 3", 3),  # goes on
    (f"{CRASH} segv; exit 3", 3),                     # ends before it is known to have lived on
    (f"{CRASH} segv; exit $?", 139),                  # says so itself
    (f"{CRASH} segv", 139),
    (f"{CRASH} segv | cat; exit 3", 3),
])
def test_a_shells_child_is_bundled_once(run, script, status):
    result, bundle = run.crash("--", "sh", "-c", script)
    assert result.returncode == status
    assert bundle.suffixes == SUFFIXES
    assert any(frame["function"] == "crash_here" for frame in bundle.account["frames"])


@pytest.mark.parametrize("script", [f"exec {CRASH} segv", f"{CRASH} orphan; sleep {GRACE + 2}"])
def test_a_crash_that_coreinit_sees_is_bundled_once(run, script):
    _, bundle = run.crash("-v", "--", "sh", "-c", script)
    assert bundle.suffixes == SUFFIXES


def test_a_core_that_a_failed_collection_left_is_not_taken_for_anothers(run, tmp_path):
    marker = tmp_path / "failed"
    corectl = fake_corectl(tmp_path, f'test -e {marker} && exec {CORECTL} "$@"; touch {marker}; exit 1')
    result = run("-v", "--", "sh", "-c", f"{CRASH} orphan 0; sleep {GRACE + 2}", env=corectl)
    assert not run.cores.exists()
    assert (run.cwd / "core").exists()
    assert "coreinit sees the end of its children itself" in result.stderr


def test_a_worker_in_another_directory_is_bundled(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _, bundle = run.crash("--", "sh", "-c", f"cd {elsewhere}; sleep 1; exec {CRASH} fork-worker 5")
    assert bundle.suffixes == SUFFIXES
    assert not list(elsewhere.iterdir())


def test_workers_that_crash_at_once_are_all_bundled(run, tmp_path):
    names = ["a", "b", "c"]
    for name in names:
        (tmp_path / name).mkdir()
    script = "".join(f"(cd {tmp_path / name}; sleep 2; exec {CRASH} fork-worker 8) & "
                     for name in names)
    run("--", "sh", "-c", script + "wait")
    found = bundles(run.cores)
    assert len(found) == 3 and all(bundle.suffixes >= SUFFIXES for bundle in found)
    assert len({bundle.account["pid"] for bundle in found}) == 3
    assert not [path for name in names for path in (tmp_path / name).iterdir()]


def test_a_worker_that_crashes_while_coreinit_is_asked_to_stop_is_bundled(run):
    script = f"trap 'exit 0' TERM; touch up; {CRASH} segv; while :; do sleep 0.1; done"
    init = run.start("--", "sh", "-c", script, pid1=False)
    wait_for((run.cwd / "core").exists)
    init.send_signal(signal.SIGTERM)
    _, err = init.communicate(timeout=20)
    assert init.returncode == 0
    bundle, = bundles(run.cores)
    assert bundle.suffixes == SUFFIXES, err


@pytest.mark.parametrize("plant", ["echo core >core", "cp /bin/ls core", "mkdir core", "mkfifo core",
                                   "ln -s /bin/ls core", ": >core", "echo a >cores"])
def test_what_is_no_core_costs_nothing(run, tmp_path, plant):
    marker = tmp_path / "collected"
    result = run("--", "sh", "-c", f"{plant}; sleep {GRACE + 1}",
                 env=fake_corectl(tmp_path, f"touch {marker}"))
    assert result.returncode == 0
    assert not marker.exists()


def test_a_core_of_someone_else_in_the_same_directory_is_left_alone(run):
    init = run.start("-v", "--", "sleep", str(GRACE + 3))
    time.sleep(1)
    subprocess.run(["prlimit", "--core=unlimited", CRASH, "segv"], cwd=run.cwd)
    keep = (run.cwd / "core").read_bytes()
    _, err = init.communicate(timeout=60)
    assert not run.cores.exists()
    assert (run.cwd / "core").read_bytes() == keep
    assert f"{run.cwd}/core is not bundled: it is the core of pid" in err
    assert "no descendant of coreinit's" in err


def test_cores_of_which_too_many_wait_are_told(run, tmp_path):
    marker = tmp_path / "collecting"
    directories = [tmp_path / f"d{i}" for i in range(10)]
    for directory in directories:
        directory.mkdir()
    script = [f"(cd {directory}; exec sleep 60) &" for directory in directories]
    script += ["sleep 3;", f"{CRASH} orphan 0;"]  # all are watched, the collector is busy
    script += [f"(cd {directory}; {CRASH} segv);" for directory in directories]
    corectl = fake_corectl(tmp_path, f"rm -f core; test -e {marker} || (touch {marker}; sleep 5)")
    result = run("--", "sh", "-c", " ".join(script) + " sleep 1", env=corectl)
    assert result.stderr.count("is not collected: 8 others wait already") == 3  # of 11


def test_where_inotify_is_not_to_be_had_a_shells_word_still_counts(run):
    """Every instance of the user's is in use."""
    limit = "/proc/sys/fs/inotify/max_user_instances"
    script = f"echo 0 >{limit}; exec {run.coreinit} -v -- sh -c '{CRASH} segv; exit $?'"
    old = open(limit).read()
    try:
        result = subprocess.run(["sh", "-c", script], cwd=run.cwd, env=run.environment(),
                                capture_output=True, text=True, timeout=60)
    finally:
        with open(limit, "w") as f:
            f.write(old)
    assert result.returncode == 139
    assert "not looked for: Too many open files" in result.stderr
    bundle, = bundles(run.cores)
    assert bundle.suffixes == SUFFIXES
    assert (run.cwd / "core").exists()
