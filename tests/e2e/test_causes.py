"""Why the program ended, as crash.json says it; and what is told only when it is asked for."""

import os
import signal

import pytest

from bundle import bundles
from conftest import CRASH, pid_of_init
from tracing import BY_PTRACE, wait_for

pytest_plugins = ["tracing_fixtures"]
pytestmark = pytest.mark.usefixtures("quick")

IN_KERNEL = ("--capture", "kernel", "--")
BOTH = pytest.mark.parametrize("mode", [IN_KERNEL, BY_PTRACE], ids=["kernel", "ptrace"])
REPORT = ("--report", "exits")


def account(run):
    bundle, = bundles(run.cores)
    return bundle.account, bundle.suffixes


@BOTH
@pytest.mark.parametrize("script, cause", [("exit 3", "exit"), ("kill -KILL $$", "kill"),
                                           ("kill -HUP $$", "kill")])
def test_an_end_that_is_no_crash_is_a_crash_json_alone_where_it_is_asked_for(run, mode, script,
                                                                             cause):
    result = run(*REPORT, *mode, "sh", "-c", script)
    assert result.returncode in (3, 128 + signal.SIGKILL, 128 + signal.SIGHUP)
    told, suffixes = account(run)
    assert (told["cause"], suffixes) == (cause, {".crash.json"}), result.stderr
    assert told["program"] is True


@pytest.mark.parametrize("script", ["exit 3", "kill -KILL $$", "exit 0"])
def test_nobody_asked_and_nothing_is_told(run, script):
    run("--", "sh", "-c", script)
    assert not run.cores.exists()


@pytest.mark.parametrize("options, script", [((), "exit 0"), (("-e", "3"), "exit 3"),
                                             ((), f"(exit 5); {CRASH} orphans 3")])
def test_an_end_that_was_expected_is_not_told(run, options, script):
    run(*REPORT, *options, "--", "sh", "-c", script)
    assert not run.cores.exists()


@BOTH
def test_a_crash_is_a_signal_and_whole_either_way(run, mode):
    result = run(*REPORT, *mode, CRASH, "segv")
    told, suffixes = account(run)
    assert told["cause"] == "signal" and ".core.zip" in suffixes, result.stderr


@BOTH
def test_a_shell_that_tells_of_its_childs_crash_makes_no_second_bundle_of_it(run, mode):
    run(*REPORT, *mode, "sh", "-c", f"{CRASH} segv; exit $?")
    causes = sorted(bundle.account["cause"] for bundle in bundles(run.cores))
    assert causes == ["exit", "signal"]


@pytest.mark.parametrize("script, told", [("touch up; exec sleep 60", True),
                                          ("trap 'exit 4' TERM; touch up", True),
                                          ("trap 'exit 0' TERM; touch up", False)])
def test_a_stop_is_its_own_cause(run, script, told):
    init = run.start(*REPORT, "--", "sh", "-c", f"{script}; while :; do sleep 0.02; done")
    wait_for((run.cwd / "up").exists, "the program isn't up")
    os.kill(pid_of_init(init), signal.SIGTERM)
    _, err = init.communicate(timeout=60)
    found = bundles(run.cores) if run.cores.exists() else []
    assert [bundle.account["cause"] for bundle in found] == ["stop"] * told, err
