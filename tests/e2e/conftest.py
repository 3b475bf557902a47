"""What the end-to-end tests share: running coreinit as a real PID 1."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
from bundle import bundles
from environment import clean_environment

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("COREINIT_BUILD", ROOT / "build"))
SANITIZED = os.environ.get("COREINIT_SANITIZE", "OFF") == "ON"

COREINIT = BUILD / "coreinit"
CORECTL = BUILD / "corectl"
CRASH = BUILD / "tests/crash"

AS_PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

# A shell's background job, and nohup's, ignore these, and so would all that is started here.
for signo in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(signo) == signal.SIG_IGN:
        signal.signal(signo, signal.SIG_DFL)


class Runner:
    """Runs coreinit with its own cores dir and working directory."""

    def __init__(self, tmp_path):
        self.cores = tmp_path / "cores"
        self.cwd = tmp_path / "work"
        self.coreinit = COREINIT
        self.cwd.mkdir()

    def command(self, *arguments, pid1=True, wrapper=()):
        return [*map(str, wrapper), *(AS_PID_1 if pid1 else []), str(self.coreinit),
                *map(str, arguments)]

    def environment(self, **extra):
        return clean_environment(**{"COREINIT_CORES_DIR": self.cores, **extra})

    def __call__(self, *arguments, pid1=True, wrapper=(), env=None, timeout=120, **kwargs):
        return subprocess.run(self.command(*arguments, pid1=pid1, wrapper=wrapper),
                              env=self.environment(**(env or {})), cwd=kwargs.pop("cwd", self.cwd),
                              capture_output=True, text=True, timeout=timeout, **kwargs)

    def start(self, *arguments, pid1=True, wrapper=(), env=None, **kwargs):
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments, pid1=pid1, wrapper=wrapper),
                                env=self.environment(**(env or {})),
                                cwd=kwargs.pop("cwd", self.cwd), text=True, **kwargs)

    def crash(self, *arguments, **kwargs):
        """Runs a crash and returns its result and its one bundle."""
        result = self(*arguments, **kwargs)
        found = bundles(self.cores)
        assert len(found) == 1, (result.stderr, list(self.cores.iterdir()))
        return result, found[0]


def pid_of_init(process):
    """The outer pid of the init that `unshare` forked."""
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with open(children) as f:
            pids = f.read().split()
        if pids and os.readlink(f"/proc/{pids[0]}/exe") == str(COREINIT):
            return int(pids[0])
        time.sleep(0.01)
    raise AssertionError("no coreinit below unshare")


@pytest.fixture
def run(tmp_path):
    return Runner(tmp_path)


@pytest.fixture
def run_for_all():
    """As run, but where any user may come: pytest's folders are root's, and the build may be."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="coreinit-test."))
    directory.chmod(0o755)
    for program in (COREINIT, CORECTL, CRASH):
        shutil.copy(program, directory)
    runner = Runner(directory)
    runner.coreinit = directory / COREINIT.name
    runner.cores.mkdir()
    runner.cores.chmod(0o777)
    yield runner
    shutil.rmtree(directory)


@pytest.fixture
def without_gdb(tmp_path_factory):
    """A PATH with the usual tools, but no gdb."""
    directory = tmp_path_factory.mktemp("bin")
    for tool in ("sh", "sleep", "cat", "mount", "prlimit", "setpriv", "unshare"):
        (directory / tool).symlink_to(shutil.which(tool))
    return str(directory)
