"""Being asked to stop, at every moment: what is going on ends well, and coreinit always ends."""

import signal

import pytest

from conftest import CRASH
from tracing import BY_PTRACE, children_of, wait_for

pytest_plugins = ["container"]

IN_KERNEL = ("--capture", "kernel", "--")
BOTH = pytest.mark.parametrize("mode", [IN_KERNEL, BY_PTRACE], ids=["kernel", "ptrace"])

# Says that it is up, and ends as SIGTERM's default action has it.
LIVES = "touch up; exec sleep 60"

# Crashes in its handler of SIGTERM.
CRASHES_AT_STOP = "trap 'kill -SEGV $$' TERM; touch up; while :; do sleep 0.02; done"


@BOTH
@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_a_crash_is_a_normal_stop_and_nothing_is_collected(start, mode, signo):
    container = start("", *mode, "sh", "-c", LIVES)
    container.wait_until_up()
    container.stop(signo)
    assert container.status() == 128 + signo
    assert container.stand_in.calls() == []
    assert "was killed" not in container.said.text()


@BOTH
def test_a_crash_while_it_stops_is_collected_in_the_time_that_is_left(start, mode):
    container = start("say(wait_for_word())", *mode, "sh", "-c", CRASHES_AT_STOP)
    container.wait_until_up()
    container.stop()
    assert container.status() == 128 + signal.SIGSEGV
    call, = container.stand_in.calls()
    assert call["was_asked_to_stop"] and call["wait_status"] == signal.SIGSEGV
    left, = container.stand_in.words()
    assert 0 < int(left) <= 28000
    assert "asked to stop while a crash is collected" in container.said.text()


@BOTH
def test_asked_to_stop_it_tells_the_collector_how_long_that_leaves(start, mode):
    container = start("say(wait_for_word())", *mode, CRASH, "segv",
                      env={"COREINIT_STOP_TIMEOUT": "50"})
    assert container.stand_in.wait()["blocked"] & 1 << signal.SIGTERM - 1
    container.stop()
    assert container.status() == 128 + signal.SIGSEGV
    left, = container.stand_in.words()
    assert 28000 < int(left) <= 48000
    assert not container.stand_in.calls()[0]["was_asked_to_stop"]


@BOTH
def test_a_collector_that_does_not_end_by_then_is_killed(start, mode):
    container = start("say(wait_for_word()); wait_for_go()", *mode, CRASH, "segv",
                      env={"COREINIT_STOP_TIMEOUT": "1"})
    container.stand_in.wait()
    container.stop()
    assert container.status() == 128 + signal.SIGSEGV
    assert "corectl is killed over the crash" in container.said.text()
    assert len(container.stand_in.calls()) == 1


@BOTH
def test_the_second_signal_stops_at_once(start, mode):
    container = start("say(wait_for_word()); wait_for_go()", *mode, CRASH, "segv",
                      env={"COREINIT_STOP_TIMEOUT": "600"})
    container.stand_in.wait()
    container.stop()
    container.stand_in.words()
    container.stop(signal.SIGINT)
    assert container.status() == 128 + signal.SIGSEGV
    assert "corectl is killed over the crash" in container.said.text()


def test_without_a_limit_the_collector_has_its_time(start):
    container = start("wait_for_go()\nif signal.SIGTERM in signal.sigpending(): say('told')",
                      *IN_KERNEL, CRASH, "segv", env={"COREINIT_STOP_TIMEOUT": "0"})
    container.stand_in.wait()
    container.stop()
    container.said.wait("it goes on, as COREINIT_STOP_TIMEOUT is 0")
    container.stand_in.go_on()
    assert container.status() == 128 + signal.SIGSEGV
    assert container.stand_in.lines("words") == []


@BOTH
def test_asked_to_stop_while_a_worker_is_collected_program_and_collector_are_told(start, mode):
    script = f"trap 'touch told' TERM; {CRASH} orphan 0; while [ ! -e told ]; do sleep 0.02; done"
    container = start("say(wait_for_word())", *mode, "sh", "-c", script + "; exit 5")
    container.stand_in.wait()
    container.stop()
    assert container.status() == 5
    left, = container.stand_in.words()
    assert 0 < int(left) <= 28000


def test_a_program_that_goes_on_gives_its_next_crash_all_the_time(start):
    """As a JVM does, that prints its threads at SIGQUIT."""
    script = (f"trap 'touch told' QUIT; {CRASH} orphan 0; while [ ! -e told ]; do sleep 0.02; done;"
              f" while [ ! -e next ]; do sleep 0.02; done; {CRASH} orphan 0; "
              "while [ ! -e last ]; do sleep 0.02; done")
    container = start("rest = here / 'work'\n"
                      "if (rest / 'next').exists():\n"
                      "    say(signal.SIGTERM in signal.sigpending())\n"
                      "    (rest / 'last').touch()\n"
                      "else:\n"
                      "    wait_for_word()\n"
                      "    say('first')\n", *IN_KERNEL, "sh", "-c", script)
    container.stand_in.wait()
    container.stop(signal.SIGQUIT)
    assert container.stand_in.words() == ["first"]
    wait_for(lambda: len(children_of(container.pid)) == 1, "the collector isn't reaped")
    (container.up.parent / "next").touch()
    assert container.status() == 0
    assert container.stand_in.words(2)[1] == "False"


@BOTH
@pytest.mark.parametrize("how", ["die(signal.SIGSEGV)", "die(signal.SIGKILL)"])
def test_a_collector_that_is_killed_over_a_crash_is_started_once_more(start, mode, how):
    container = start(f"if record.attempt == 1: {how}", *mode, CRASH, "segv")
    assert container.status() == 128 + signal.SIGSEGV
    assert [call["attempt"] for call in container.stand_in.calls()] == [1, 2]
    assert len({call["pid"] for call in container.stand_in.calls()}) == 1
    assert "it is started once more" in container.said.text()


@BOTH
def test_killed_twice_it_is_not_started_a_third_time(start, mode):
    container = start("die(signal.SIGKILL)", *mode, CRASH, "segv")
    assert container.status() == 128 + signal.SIGSEGV
    assert [call["attempt"] for call in container.stand_in.calls()] == [1, 2]
    assert container.said.text().count("what is whole in") == 1


def test_a_held_process_stays_held_for_the_second_attempt(start):
    script = ("with open(f'/proc/{record.pid}/status') as status: say(status.read().count('tracing stop'))\n"
              "if record.attempt == 1: die(signal.SIGKILL)")
    container = start(script, *BY_PTRACE, CRASH, "segv")
    assert container.status() == 128 + signal.SIGSEGV
    assert container.stand_in.words(2) == ["1", "1"]


def test_asked_to_stop_the_second_attempt_is_told_too(start):
    script = "word = wait_for_word(); say(word)\nif record.attempt == 1: die(signal.SIGKILL)"
    container = start(script, *BY_PTRACE, CRASH, "segv")
    container.stand_in.wait()
    container.stop()
    assert container.status() == 128 + signal.SIGSEGV
    first, second = map(int, container.stand_in.words(2))
    assert 0 < second <= first <= 28000


def test_a_collector_that_fails_is_not_started_again(start):
    container = start("sys.exit(1)", *BY_PTRACE, CRASH, "segv")
    assert container.status() == 128 + signal.SIGSEGV
    assert len(container.stand_in.calls()) == 1


@BOTH
def test_a_second_crash_waits_for_the_first_ones_collection(start, mode):
    """The program's own, while its worker's is collected."""
    script = f"{CRASH} orphan 0; while [ ! -e {{go}} ]; do sleep 0.02; done; exec {CRASH} abort"
    container = start("if not record.is_program: (here / 'crash').touch(); wait_for_go()",
                      *mode, "sh", "-c", script.format(go="../crash"))
    container.said.wait("(pid", 2)
    assert len(container.stand_in.calls()) == 1
    container.stand_in.go_on()
    assert container.status() == 128 + signal.SIGABRT
    assert [call["wait_status"] for call in container.stand_in.calls()] == [11, 6]


def test_a_collector_that_is_stopped_by_somebody_ends_at_its_deadline(start):
    container = start("os.kill(os.getpid(), signal.SIGSTOP)", *IN_KERNEL, CRASH, "segv",
                      env={"COREINIT_COLLECT_TIMEOUT": "1"})
    assert container.status() == 128 + signal.SIGSEGV


@pytest.mark.parametrize("mode, number", [(IN_KERNEL, 10000), (BY_PTRACE, 2000)])
def test_ten_thousand_orphans_are_reaped_while_a_crash_is_collected(start, mode, number):
    script = (f"{CRASH} orphan 0; while [ ! -e ../calls ]; do sleep 0.02; done;"
              f" {CRASH} orphans {number};"
              " while grep -qs '^State:.Z' /proc/[0-9]*/status; do sleep 0.02; done; touch ../go")
    container = start("wait_for_go()", *mode, "sh", "-c", script)
    assert container.status() == 0
    assert "is killed" not in container.said.text()


# What is left in the cores dir: the sweep.

SWEEP = {"S3_BUCKET": "b", "S3_KEY_PREFIX": "t/x"}


def test_what_an_earlier_life_left_is_swept_beside_the_program(start):
    container = start("say(is_sweep); wait_for_go()", *IN_KERNEL, "sh", "-c",
                      "while [ ! -e ../words ]; do sleep 0.02; done; exit 3", env=SWEEP)
    # Nobody waits for it: this one would take a minute.
    assert container.status() == 3
    call, = container.stand_in.calls()
    assert call["arguments"][:3] == ["upload", "--sweep", "--record-fd"]
    assert call["nice"] == 10 and call["oom_score_adj"] == 1000
    assert call["blocked"] & 1 << signal.SIGTERM - 1


def test_a_sweeper_is_told_to_stop_with_the_program(start):
    container = start("say('up')\nsay(wait_for_word())", *IN_KERNEL, "sh", "-c",
                      "trap '' TERM; while [ $(wc -l < ../words 2>&- || echo 0) -lt 2 ];"
                      " do sleep 0.02; done", env=SWEEP)
    container.stand_in.words()
    container.stop()
    assert container.status() == 0
    assert 0 < int(container.stand_in.words(2)[1]) <= 28000


@pytest.mark.parametrize("env", [{}, {**SWEEP, "COREINIT_CORES_DIR": "none"},
                                 {**SWEEP, "COREINIT_CAPTURE": "off"}])
def test_where_there_is_nothing_to_sweep_or_nowhere_to_send_it_to_nobody_does(start, env):
    container = start("say(is_sweep)", "--", "sh", "-c", "sleep 1.5", env=env)
    assert container.status() == 0
    assert container.stand_in.calls() == []


@pytest.mark.parametrize("how, words", [
    ("sys.exit(75)", "earlier bundles are not all sent: it is tried again in 1 min"),
    ("die(signal.SIGKILL)", "corectl was killed by SIGKILL while it sent earlier bundles"),
])
def test_a_sweep_that_could_not_send_all_is_told_and_tried_again_later(start, how, words):
    container = start(how, *IN_KERNEL, "sh", "-c", LIVES, env=SWEEP)
    container.said.wait(words)
    container.stop()
    assert container.status() == 128 + signal.SIGTERM


def test_a_crash_that_was_not_sent_is_swept_while_the_program_lives(start):
    container = start("sys.exit(75)", *IN_KERNEL, "sh", "-c", f"{CRASH} orphan 0; " + LIVES,
                      env=SWEEP)
    container.said.wait("was sent: it is tried again in ")
    container.stop()
    assert container.status() == 128 + signal.SIGTERM


def test_a_crash_that_was_not_sent_is_left_to_the_next_start(start):
    container = start("sys.exit(75)", *BY_PTRACE, CRASH, "segv", env=SWEEP)
    assert container.status() == 128 + signal.SIGSEGV
    assert "the next coreinit with this cores dir does it" in container.said.text()
