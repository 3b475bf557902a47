"""coreinit is a drop-in for tini: the real tini (Debian's) is asked the same, and answers the same."""

import os
import re
import subprocess

import pytest

from conftest import COREINIT, clean_environment

# Where tini (which then uses GNU getopt's permutation) and coreinit are to agree, a program's own
# options must stop the parsing: that is what POSIXLY_CORRECT does to tini, and coreinit always.
COMMON = {"POSIXLY_CORRECT": "1", "TINI_SUBREAPER": ""}


def ask(init, arguments, env=None, **kwargs):
    return subprocess.run([init, *arguments], env=clean_environment(**COMMON, **(env or {})),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                          **kwargs)


@pytest.mark.parametrize("arguments", [
    ["true"],
    ["false"],
    ["--", "true"],
    ["--", "sh", "-c", "exit 42"],
    ["sh", "-c", "exit 255"],
    ["sh", "-c", "kill -TERM $$"],
    ["sh", "-c", "kill -KILL $$"],
    ["sh", "-c", "kill -USR1 $$"],
    ["-s", "--", "true"],
    ["-g", "true"],
    ["-v", "true"],
    ["-vvv", "true"],
    ["-vvvv", "--", "true"],
    ["-wvg", "--", "sh", "-c", "exit 3"],
    ["-gws", "true"],
    ["-e", "3", "--", "sh", "-c", "exit 3"],
    ["-e3", "--", "sh", "-c", "exit 3"],
    ["-e", "3", "-e", "4", "--", "sh", "-c", "exit 4"],
    ["-e", "3", "--", "sh", "-c", "exit 4"],
    ["-e", "0", "--", "true"],
    ["-e", "255", "--", "sh", "-c", "exit 255"],
    ["-e", "143", "--", "sh", "-c", "kill -TERM $$"],
    ["-ge", "7", "sh", "-c", "exit 7"],
    ["-p", "SIGKILL", "--", "true"],
    ["-pSIGTERM", "true"],
    ["-p", "SIGUSR2", "-p", "SIGHUP", "true"],
    ["echo", "-n", "-v", "--", "a"],
    ["--", "echo", "--", "-x"],
    ["sh", "-c", "echo $#", "--", "-e", "--version"],
    ["/nonexistent/program"],
    ["no-such-program-anywhere"],
    ["/etc"],
    ["/etc/passwd"],
    [],
    ["--"],
    ["-e", "256", "true"],
    ["-e", "-1", "true"],
    ["-e", "x", "true"],
    ["-e"],
    ["-p", "SIGNOPE", "true"],
    ["-p"],
    ["-z", "true"],
    ["-h"],
    ["-l"],
    ["--version"],
])
def test_exit_status_and_output_are_tinis(arguments):
    ours, tinis = ask(COREINIT, ["-q", *arguments] if arguments[:1] != ["--version"] else arguments), \
        ask("tini", arguments)
    assert ours.returncode == tinis.returncode, (ours.stderr, tinis.stderr)
    # tini writes its own words to stdout too, where they would mix with the program's.
    if not re.match(r"-(h|l|\w*v|-version)", "".join(arguments[:1])):
        assert ours.stdout == tinis.stdout


@pytest.mark.parametrize("arguments", [["-h"], ["-l"], ["--version"], ["--help"]])
def test_what_is_asked_for_goes_to_stdout(arguments):
    result = ask(COREINIT, arguments)
    assert result.returncode == 0 and result.stderr == "" and "coreinit" in result.stdout


@pytest.mark.parametrize("arguments, words", [
    ([], "no program to run"),
    (["-e", "256", "true"], "-e 256: not an exit status from 0 to 255"),
    (["-p", "SIGNOPE", "true"], "-p SIGNOPE: no such signal"),
    (["-z", "true"], "unknown option"),
    (["--nonsense", "true"], "unknown option --nonsense"),
    (["--re", "exits", "true"], "unknown option --re"),  # --report or --restart-limit
    (["--cores-dir"], "--cores-dir needs a value"),
])
def test_misuse_is_one_clear_line_and_a_usage_line(arguments, words):
    result = ask(COREINIT, arguments)
    lines = result.stderr.splitlines()
    assert result.returncode == 1
    assert len(lines) == 2 and words in lines[0] and lines[1].startswith("usage: coreinit")


def test_environment_stands_for_the_options():
    def group_is_signalled(env):
        # A member of the program's group that isn't the program tells whether the group was meant.
        script = ("trap 'sleep 0.5; kill $! 2>/dev/null; exit 0' USR1; "
                  "sh -c 'trap \"echo child; exit\" USR1; echo ready; "
                  "while :; do sleep 0.05; done' & wait; wait")
        init = subprocess.Popen([COREINIT, "-q", "sh", "-c", script], text=True,
                                env=clean_environment(**env), stdout=subprocess.PIPE)
        assert init.stdout.readline() == "ready\n"
        init.send_signal(10)
        out, _ = init.communicate(timeout=20)
        return "child" in out

    assert group_is_signalled({"TINI_KILL_PROCESS_GROUP": ""})
    assert not group_is_signalled({})


@pytest.mark.parametrize("verbosity, banner, info, debug", [
    ("0", False, False, False), ("1", True, False, False), ("2", True, True, False),
    ("3", True, True, True),
])
def test_verbosity_is_tinis_scale(verbosity, banner, info, debug):
    script = "kill -USR1 $PPID; sleep 0.2"
    result = ask(COREINIT, ["sh", "-c", f"trap : USR1; {script}"], {"TINI_VERBOSITY": verbosity})
    assert ("notice:" in result.stderr) == banner
    assert ("info:" in result.stderr) == info
    assert ("debug: forwarding SIGUSR1" in result.stderr) == debug


def test_w_warns_of_each_process_that_is_not_the_program():
    orphan = "(sleep 0.1 & exec true) & wait; sleep 0.4"
    assert "reaped pid" in ask(COREINIT, ["-w", "sh", "-c", orphan]).stderr
    assert "reaped pid" not in ask(COREINIT, ["sh", "-c", orphan]).stderr


def test_p_signals_the_init_when_its_parent_dies(tmp_path):
    out = tmp_path / "out"
    program = f"trap 'echo told > {out}; exit' HUP; echo ready; while :; do sleep 0.1; done"
    parent = subprocess.Popen(["sh", "-c", '"$@" & wait', "sh", COREINIT, "-q", "-p", "SIGHUP",
                               "sh", "-c", program],
                              env=clean_environment(), stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "ready\n"
    parent.kill()
    parent.wait()
    parent.stdout.read()  # ends when the program does
    assert out.read_text() == "told\n"


def test_called_by_another_inits_name_it_says_nothing(tmp_path):
    for name in ("tini", "docker-init"):
        link = tmp_path / name
        os.symlink(COREINIT, link)
        result = ask(link, ["--", "sh", "-c", "echo x"])
        assert (result.stdout, result.stderr, result.returncode) == ("x\n", "", 0)
