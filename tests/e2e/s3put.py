"""s3put, the store layer's driver, and what its tests share."""

import dataclasses
import os
import random
import subprocess

import pytest

from conftest import BUILD
from s3_server import S3rver, StrictS3, why_no_s3rver

S3PUT = BUILD / "tests/s3put"
MIB = 1 << 20
PREFIX = "team-a/fluent-bit"
SOME_KEY = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "not-printed"}


def some_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


@dataclasses.dataclass
class Result:
    status: int
    verdict: str  # "sent" or "failed", of s3put's last line
    rest: str
    out: dict  # its other lines: word, value
    log: str

    @property
    def sent(self):
        return self.status == 0 and self.verdict == "sent"


class Put:
    """Runs s3put in an environment of its own, and holds that no secret was ever printed."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.program = S3PUT

    def environment(self, env):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "S3_KEY_PREFIX": PREFIX,
               "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "3", **env}
        return {name: value for name, value in env.items() if value is not None}

    def start(self, env, *arguments, stdin=None):
        self.process = subprocess.Popen([self.program, *map(str, arguments)],
                                        env=self.environment(env), text=True, stdin=stdin,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self.process

    def run(self, env, *arguments, stdin=None):
        return self.finish(self.start(env, *arguments, stdin=stdin), env)

    def finish(self, process, env):
        out, log = process.communicate(timeout=120)
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            assert not env.get(name) or env[name] not in out + log
        *before, last = [line.partition(" ") for line in out.splitlines() or [""]]
        return Result(process.returncode, last[0], last[2],
                      {word: value for word, _, value in before}, log)

    def content(self, content):
        path = self.tmp_path / "content"
        path.write_bytes(content)
        return path

    def bytes(self, env, name, content):
        return self.run(env, "put", name, self.content(content))

    def stream(self, env, name, content):
        with self.content(content).open("rb") as stdin:
            return self.run(env, "stream", name, stdin=stdin)


@pytest.fixture
def put(tmp_path):
    yield Put(tmp_path)
    (tmp_path / "content").unlink(missing_ok=True)  # pytest keeps its directories


@pytest.fixture(scope="module")
def s3rver(tmp_path_factory):
    reason = why_no_s3rver()
    if reason:
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with S3rver(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def strict(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server
