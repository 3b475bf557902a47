"""A Docker engine, spoken to by the docker command."""

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tests" / "e2e"))  # for bundle and the like


def unavailable(reason):
    """In CI what is missing is a failure; elsewhere it is a reason to skip."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Engine:
    def __init__(self, host=None):
        self.command = ["docker"] + (["--host", host] if host else [])
        self.started = set()

    def __call__(self, *args, check=True, **options):
        options.setdefault("timeout", 120)
        return subprocess.run(
            [*self.command, *args], check=check, capture_output=True, text=True, **options
        )

    def answers(self):
        return self("info", check=False).returncode == 0

    def build(self, tag, *args, **options):
        """Builds with the builder that every engine has; BuildKit is a plug-in."""
        built = self("build", "-t", tag, *args, check=False, timeout=900, **options)
        assert built.returncode == 0, built.stdout + built.stderr
        return tag

    def run(self, image, *command, options=()):
        """Runs a container to its end. Its exit status and its two streams come back."""
        name = f"coreinit-test-{uuid.uuid4()}"
        self.started.add(name)
        result = self("run", "--rm", "--name", name, *options, image, *command, check=False)
        self.started.remove(name)
        return result

    def run_and_diff(self, image, *command, options=()):
        """As run; what the container changed in its own file system comes back too."""
        container = self("create", *options, image, *command).stdout.strip()
        self.started.add(container)
        result = self("start", "--attach", container, check=False)
        changes = self("diff", container).stdout.splitlines()
        self.remove(container)
        return result, changes

    def start(self, image, *command, options=(), until):
        """Starts a container and waits until its log has a text. Returns its id."""
        container = self("run", "--detach", *options, image, *command).stdout.strip()
        self.started.add(container)
        for _ in range(100):
            if until in self.logs(container):
                return container
            time.sleep(0.1)
        raise AssertionError(f"no '{until}' in: {self.logs(container)}")

    def logs(self, container):
        logs = self("logs", container)
        return logs.stdout + logs.stderr

    def finish(self, container):
        """Waits for a container's end and removes it. Returns its exit status and its log."""
        status = int(self("wait", container).stdout)
        log = self.logs(container)
        self.remove(container)
        return status, log

    def remove(self, container):
        self("rm", container)
        self.started.remove(container)

    def clear(self):
        """Removes what a failed test left."""
        for container in self.started:
            self("rm", "--force", container)
