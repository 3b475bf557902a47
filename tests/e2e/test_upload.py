"""corectl upload by hand: what it takes, what it says, and how far it is."""

import fcntl
import os
import re
import struct
import termios
import time

import pytest

from conftest import AS_PID_1, CORECTL
from environment import clean_environment
from left import Left, account_of, real_crash, upload
from s3_server import StrictS3
from terminal import Terminal

MIB = 1 << 20
FILES = {".stacktrace": b"#0 crash_here\n", ".core.zip": b"PK core", ".executable": b"\x7fELF",
         ".libs.zip": b"PK libs"}
CLEAR = "\r\x1b[K"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    return account_of(real_crash(tmp_path_factory.mktemp("real") / "crash"))


@pytest.fixture
def cores(tmp_path):
    directory = tmp_path / "cores"
    directory.mkdir()
    return directory


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


@pytest.fixture
def env(s3, cores):
    return {**s3.env, "COREINIT_CORES_DIR": cores, "AWS_MAX_ATTEMPTS": "1"}


@pytest.mark.parametrize("name, cwd", [
    ("{cores}/issue_a.crash.json", "/"),
    ("{cores}/issue_a", "/"),
    ("issue_a", "/"),
    ("issue_a.crash.json", "/"),
    ("issue_a.crash.json", "{cores}"),
    ("./issue_a.crash.json", "{cores}"),
    ("../cores//issue_a.crash.json", "{cores}"),
    ("{link}/issue_a.crash.json", "/"),
])
def test_a_bundle_is_named_by_its_id_or_its_crash_json(account, cores, s3, env, tmp_path, name, cwd):
    left, other = Left(cores, "issue_a", account, FILES), Left(cores, "issue_b", account, FILES)
    (tmp_path / "link").symlink_to(cores)
    status, log = upload(name.format(cores=cores, link=tmp_path / "link"), env=env,
                         cwd=cwd.format(cores=cores))
    assert status == 0, log
    left.check_sent(s3.objects)
    assert not any(other.id in key for key in s3.objects)


def test_all_files_of_a_bundle_are_one_upload(account, cores, s3, env):
    left = Left(cores, "issue_a", account, FILES)
    status, log = upload(*cores.glob("issue_a*"), env=env)
    assert status == 0, log
    left.check_sent(s3.objects)
    assert log.count("bundle issue_a is in") == 1


def test_an_artifact_is_sent_alone_but_for_the_account(account, cores, s3, env):
    left = Left(cores, "issue_a", account, FILES)
    assert upload(left.path(".stacktrace"), env=env)[0] == 0
    assert set(s3.objects) == {"issue/issue_a.stacktrace", "issue/issue_a.crash.json"}
    # The rest is still to be sent.
    assert upload("--sweep", env=env)[0] == 0
    left.check_sent(s3.objects)
    stacktraces = [r for r in s3.requests if r.path.endswith(".stacktrace") and r.status == 200]
    assert len(stacktraces) == 1


def test_what_was_sent_is_not_sent_again(account, cores, s3, env):
    left = Left(cores, "issue_a", account, FILES)
    assert upload("issue_a", env=env)[0] == 0
    n_requests = len(s3.requests)
    assert upload("issue_a", env=env)[0] == 0
    assert upload(left.path(".core.zip"), env=env)[0] == 0
    assert len(s3.requests) == n_requests


def test_a_bundle_that_was_copied_elsewhere_is_sent_from_there(account, tmp_path, s3, env):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    left = Left(elsewhere, "issue_a", account, FILES)
    assert upload(*elsewhere.iterdir(), env=env)[0] == 0
    left.check_sent(s3.objects)


@pytest.mark.parametrize("name", ["stranger.txt", "issue_b.core.zip.part", ".issue_a.journal",
                                  "issue_c.core.zip", "missing/issue_a.core.zip", "issue_c", "",
                                  "missing/", "what a terminal obeys\x1b[2J\x9b31m"])
def test_what_is_no_file_of_a_bundle_is_refused_in_one_line(account, cores, s3, env, name):
    left = Left(cores, "issue_a", account, FILES)
    (cores / "stranger.txt").touch()
    (cores / "issue_b.core.zip.part").touch()
    status, log = upload(f"{cores}/{name}", "issue_a", env=env)
    assert status == 1
    assert all(c == "\n" or c.isprintable() for c in log), log
    refusal, = [line for line in log.splitlines() if "can't be sent" in line]
    shown = "".join(c if c.isprintable() else "?" * len(c.encode()) for c in name)
    assert shown in refusal
    left.check_sent(s3.objects)  # all the same


@pytest.mark.parametrize("arguments", [[], ["--sweep", "issue_a"], ["--swoop"], ["--record-fd", "x"],
                                       ["--record-fd", "99", "--sweep"],
                                       ["--record-fd", "0", "issue_a"]])
def test_misuse_is_refused(env, arguments):
    status, log = upload(*arguments, env=env)
    assert status == 1 and len(log.splitlines()) == 1


def test_without_a_bucket_it_says_so(account, cores, env):
    Left(cores, "issue_a", account, FILES)
    del env["S3_BUCKET"]
    status, log = upload("--sweep", env=env)
    assert status == 1 and "S3_BUCKET" in log and len(log.splitlines()) == 1


def test_a_cores_dir_that_is_not_there_is_told(env, tmp_path):
    status, log = upload("--sweep", env={**env, "COREINIT_CORES_DIR": tmp_path / "no" / "dir"})
    assert status == 1 and str(tmp_path) in log


class Watched:
    """`corectl upload` on a terminal of @columns; 0: it doesn't tell."""

    def __init__(self, bundle_id, env, columns, **more):
        # The size has to be there before the first look at it.
        script = 'read _; exec "$@"'
        self.terminal = Terminal("/bin/sh", "-c", script, "sh", *AS_PID_1, CORECTL, "upload",
                                 bundle_id,
                                 env=clean_environment(**{"TERM": "xterm", **env, **more}))
        fcntl.ioctl(self.terminal.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.began = time.monotonic()
        self.terminal.type("\n")
        self.terminal.expect("\r\n", timeout=60)  # the echo

    def finish(self):
        """Returns status and all that was written."""
        text = self.terminal.seen
        try:
            while data := os.read(self.terminal.fd, 65536):
                text += data.decode()
        except OSError:
            pass
        return self.terminal.status(), text


@pytest.mark.parametrize("columns", [200, 30, 2, 0])
def test_a_terminal_shows_how_far_it_is_and_is_left_clean(account, cores, env, columns):
    size = 4 * MIB if columns == 200 else MIB
    Left(cores, "issue_a", account, {**FILES, ".core.zip": bytes(size)})
    watched = Watched("issue_a", {**env, "COREINIT_UPLOAD_RATE": "3M"}, columns)
    status, text = watched.finish()
    seconds = time.monotonic() - watched.began
    assert status == 0
    drawn = [piece for piece in text.split(CLEAR)[1:]]
    assert max(len(piece.split("\r\n")[0]) for piece in drawn if "coreinit:" not in piece) \
        < (columns or 80)
    # What is left on the terminal are the lines of the log alone.
    left = [line.rsplit(CLEAR, 1)[-1] for line in text.split("\r\n")]
    assert all(line == "" or line.startswith("coreinit: ") for line in left)
    assert text.count(CLEAR) <= 10 * seconds + 2 * 5 + 2
    if columns != 200:
        return
    bars = [piece for piece in drawn if ".core.zip" in piece and "coreinit:" not in piece]
    match = re.search(r"issue_a\.core\.zip  \[=*>? *\]  +\d+%  +[\d.]+ [KM]iB of 4\.0 MiB +"
                      r"[\d.]+ [KMG]?i?B/s  \d:\d\d left", bars[-1])
    assert match, bars


@pytest.mark.parametrize("terminal", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(account, cores, env, terminal):
    Left(cores, "issue_a", account, FILES)
    status, text = Watched("issue_a", env, 80, **terminal).finish()
    assert status == 0 and "\x1b" not in text and "bundle issue_a is in" in text


def test_a_pipe_gets_lines(account, cores, env):
    Left(cores, "issue_a", account, FILES)
    status, log = upload("issue_a", env=env)
    assert status == 0
    assert log.splitlines() == ["coreinit: notice: bundle issue_a is in s3://crashes/issue"]
