"""Fixtures of the tests of tracing."""

import pathlib
import shlex

import pytest

from conftest import CORECTL
from tracing import wait_for


@pytest.fixture(scope="session")
def tools_without_gdb(tmp_path_factory):
    """A PATH with all tools of the machine but gdb."""
    directory = tmp_path_factory.mktemp("tools")
    for tool in (*pathlib.Path("/usr/sbin").iterdir(), *pathlib.Path("/usr/bin").iterdir()):
        link = directory / tool.name
        if tool.name != "gdb" and not link.is_symlink():
            link.symlink_to(tool)
    directory.chmod(0o755)
    return str(directory)


@pytest.fixture
def quick(monkeypatch, tools_without_gdb):
    """Bundles without gdb's text, whose tests are elsewhere."""
    monkeypatch.setenv("PATH", tools_without_gdb)


class Gate:
    """
    A corectl that says it was started, and begins once it may: meanwhile a process is held. A shell
    doesn't know what SIGTERM means to a collector.
    """

    def __init__(self, directory):
        self.started, self.go = directory / "started", directory / "go"
        corectl = directory / "corectl"
        corectl.write_text(f"#!/bin/sh\ntrap '' TERM\necho x >> {shlex.quote(str(self.started))}\n"
                           f"while [ ! -e {shlex.quote(str(self.go))} ]; do sleep 0.02; done\n"
                           f'exec {shlex.quote(str(CORECTL))} "$@"\n')
        corectl.chmod(0o755)
        self.env = {"COREINIT_CORECTL": corectl}

    def wait(self):
        wait_for(self.started.exists, "the collector isn't started")

    def open(self):
        self.go.touch()


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)
