"""What the end-to-end tests share: running coreinit as a real PID 1, and reading bundles."""

import json
import os
import pathlib
import shutil
import subprocess
import zipfile

import jsonschema
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("COREINIT_BUILD", ROOT / "build"))
SANITIZED = os.environ.get("COREINIT_SANITIZE", "OFF") == "ON"
SCHEMA = json.loads((ROOT / "src/bundle/crash.schema.json").read_text())

COREINIT = BUILD / "coreinit"
CORECTL = BUILD / "corectl"
CRASH = BUILD / "tests/crash"

AS_PID_1 = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]

# The machine's own settings must not reach a test.
SETTINGS = ("COREINIT_", "TINI_", "S3_", "AWS_", "RUN_ID")


def clean_environment(**extra):
    env = {k: v for k, v in os.environ.items() if not k.startswith(SETTINGS)}
    env.pop("CURL_CA_BUNDLE", None)
    env.pop("SSL_CERT_FILE", None)
    env.update({k: str(v) for k, v in extra.items()})
    return env


class Bundle:
    """One crash's artifacts in a directory."""

    def __init__(self, directory, crash_json):
        self.directory = directory
        self.account = json.loads(crash_json.read_text())
        jsonschema.validate(self.account, SCHEMA)
        self.id = crash_json.name[: -len(".crash.json")]
        assert self.account["id"] == self.id

    def path(self, suffix):
        return self.directory / (self.id + suffix)

    @property
    def suffixes(self):
        return {p.name[len(self.id):] for p in self.directory.iterdir() if p.name.startswith(self.id)}

    @property
    def stacktrace(self):
        return self.path(".stacktrace").read_text()

    def unpack(self, where):
        """Unpacks core and libraries with Info-ZIP, as a user would. Returns the core's path."""
        subprocess.run(["unzip", "-q", "-o", self.path(".core.zip"), "-d", where], check=True)
        subprocess.run(["unzip", "-q", "-o", self.path(".libs.zip"), "-d", where / "sysroot"],
                       check=False)
        return where / "core"

    def gdb(self, where, *commands):
        """What gdb says of the unpacked bundle, with nothing taken from this machine."""
        core = self.unpack(where)
        args = ["gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off",
                "-iex", "set auto-load safe-path /", "-ex", f"set sysroot {where / 'sysroot'}",
                "-ex", f"file {self.path('.executable')}", "-ex", f"core-file {core}"]
        for command in commands or ("bt",):
            args += ["-ex", command]
        return subprocess.run(args, capture_output=True, text=True, timeout=120).stdout

    def core_entry(self):
        with zipfile.ZipFile(self.path(".core.zip")) as archive:
            return archive.getinfo("core")


def bundles(directory):
    found = [Bundle(directory, p) for p in sorted(directory.glob("*.crash.json"))]
    leftovers = list(directory.glob("*.part"))
    assert not leftovers, leftovers
    return found


class Runner:
    """Runs coreinit with its own cores dir and working directory."""

    def __init__(self, tmp_path):
        self.cores = tmp_path / "cores"
        self.cwd = tmp_path / "work"
        self.cwd.mkdir()

    def command(self, *arguments, pid1=True, wrapper=()):
        return [*map(str, wrapper), *(AS_PID_1 if pid1 else []), str(COREINIT),
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


@pytest.fixture
def run(tmp_path):
    return Runner(tmp_path)


@pytest.fixture
def without_gdb(tmp_path_factory):
    """A PATH with the usual tools, but no gdb."""
    directory = tmp_path_factory.mktemp("bin")
    for tool in ("sh", "sleep", "cat", "mount", "prlimit", "setpriv", "unshare"):
        (directory / tool).symlink_to(shutil.which(tool))
    return str(directory)
