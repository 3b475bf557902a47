"""A coreinit with a stand-in for the collector, that is looked at while it runs."""

import functools
import json
import os
import signal

import pytest

from conftest import pid_of_init
from tracing import wait_for

PRELUDE = f"""#!/usr/bin/python3
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
sys.dont_write_bytecode = True
from stand_in import *

"""


class StandIn:
    """A corectl of a test's own: @script is Python, with what stand_in.py has."""

    def __init__(self, directory, script):
        self.directory = directory
        path = directory / "corectl"
        path.write_text(PRELUDE + script)
        path.chmod(0o755)
        self.env = {"COREINIT_CORECTL": path}

    def lines(self, name):
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def calls(self):
        return [json.loads(line) for line in self.lines("calls")]

    def wait(self, count=1):
        """Until there were so many calls. Returns the last one."""
        wait_for(lambda: len(self.lines("calls")) >= count, f"the collector wasn't called {count} times")
        return self.calls()[count - 1]

    def words(self, count=1):
        wait_for(lambda: len(self.lines("words")) >= count, "the stand-in said nothing")
        return self.lines("words")

    def go_on(self):
        (self.directory / "go").touch()


class Said:
    """A coreinit's log in a file, so that a test can wait for a line while it runs."""

    def __init__(self, directory):
        self.path = directory / "log"
        self.file = open(self.path, "w")

    def text(self):
        return self.path.read_text()

    def wait(self, words, count=1):
        wait_for(lambda: self.text().count(words) >= count, f"never said: {words}")


class Container:
    """A coreinit with a stand-in for the collector."""

    def __init__(self, run, tmp_path, script, *command, env=None, wrapper=()):
        self.directory = tmp_path
        self.said = Said(tmp_path)
        self.stand_in = StandIn(tmp_path, script)
        self.up = run.cwd / "up"
        self.process = run.start(*command, env={**self.stand_in.env, **(env or {})},
                                 stderr=self.said.file, wrapper=wrapper)

    @functools.cached_property
    def pid(self):
        """coreinit's, as the test sees it; to be asked for while it runs for sure."""
        return pid_of_init(self.process)

    def wait_until_up(self):
        wait_for(self.up.exists, "the program isn't up")

    def stop(self, signo=signal.SIGTERM):
        os.kill(self.pid, signo)

    def status(self):
        return self.process.wait(60)


@pytest.fixture
def start(run, tmp_path):
    started = []

    def start_one(script, *command, **kwargs):
        started.append(Container(run, tmp_path, script, *command, **kwargs))
        return started[-1]

    yield start_one
    for container in started:
        container.process.kill()
        container.process.communicate()
