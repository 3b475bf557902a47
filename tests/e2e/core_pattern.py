"""kernel.core_pattern, changed for tests and put back. It is the whole machine's: tests that change
it run alone."""

import subprocess
from contextlib import contextmanager

import pytest

PATTERN = "/proc/sys/kernel/core_pattern"
USES_PID = "/proc/sys/kernel/core_uses_pid"

# Puts a sysctl back when its standard input closes: also when the tests are killed.
GUARD = 'old=$(cat "$1"; echo .); echo ready; read _; printf %s "${old%.}" >"$1"'


def read():
    return [open(path).read() for path in (PATTERN, USES_PID)]


@contextmanager
def changeable():
    """Gives a function that sets a sysctl; what was set is put back in the end."""
    guards = {}

    def set_value(path, value):
        if path not in guards:
            guards[path] = subprocess.Popen(["sh", "-c", GUARD, "sh", path],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            start_new_session=True)
            guards[path].stdout.readline()
        try:
            with open(path, "w") as f:
                f.write(value + "\n")
        except OSError as error:
            pytest.skip(f"this kernel doesn't take {path} = {value!r}: {error}")

    before = read()
    try:
        yield set_value
    finally:
        for guard in guards.values():
            guard.communicate(timeout=10)
    assert read() == before
