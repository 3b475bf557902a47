"""Bundles that an earlier life left in a cores dir, and `corectl upload`, which sends them."""

import contextlib
import fcntl
import hashlib
import json
import os
import select
import signal
import subprocess
import threading

import jsonschema

from bundle import SCHEMA
from conftest import AS_PID_1, CORECTL, COREINIT, CRASH
from environment import clean_environment

FATES = {".stacktrace": "stacktrace", ".core.zip": "core", ".executable": "executable",
         ".libs.zip": "libs"}


class Left:
    """A bundle of @files (suffix: bytes), with a crash.json that tells of them.

    @whole  crash.json is whole; else its early form is there, under its .part name
    """

    def __init__(self, directory, bundle_id, account, files, whole=True):
        self.directory, self.id = directory, bundle_id
        self.files = dict(files)
        account = json.loads(json.dumps(account))
        account.update(id=bundle_id, complete=whole)
        for suffix, key in FATES.items():
            data = self.files.get(suffix)
            account["artifacts"][key].update(
                file=bundle_id + suffix if whole and data is not None else None,
                size=len(data) if whole and data is not None else None,
                sha256=hashlib.sha256(data).hexdigest() if whole and data is not None else None,
                in_cores_dir=data is not None if whole else None,
                in_s3=False if whole else None,
                error="not sent: no bucket" if whole else None)
        self.files[".crash.json"] = (json.dumps(account, indent=2) + "\n").encode()
        for suffix, data in self.files.items():
            path = self.path(suffix)
            if suffix == ".crash.json" and not whole:
                path = directory / (path.name + ".part")
            path.write_bytes(data)
            path.chmod(0o600)

    def path(self, suffix):
        return self.directory / (self.id + suffix)

    @property
    def journal(self):
        return self.directory / f".{self.id}.journal"

    @contextlib.contextmanager
    def worked_on(self):
        """Somebody else has it."""
        with open(self.journal, "a") as journal:
            os.chmod(self.journal, 0o600)
            fcntl.flock(journal, fcntl.LOCK_EX)
            yield

    def check_sent(self, objects, prefix="issue/"):
        """All of it is in the bucket, byte for byte, and says so. @objects: key: bytes."""
        sent = {key[len(prefix + self.id):]: data for key, data in objects.items()
                if key.startswith(prefix + self.id + ".")}
        for suffix, data in self.files.items():
            if suffix != ".crash.json":
                assert sent[suffix] == data, suffix
        assert set(sent) == set(self.files)
        account = json.loads(sent[".crash.json"])
        jsonschema.validate(account, SCHEMA)
        assert account["complete"] is True and account["id"] == self.id
        for suffix, key in FATES.items():
            fate, data = account["artifacts"][key], self.files.get(suffix)
            if data is None:
                assert fate["file"] is None and not fate["in_s3"] and fate["error"]
            else:
                assert fate["file"] == self.id + suffix and fate["size"] == len(data)
                assert fate["sha256"] == hashlib.sha256(data).hexdigest()
                assert fate["in_s3"] is True and fate["error"] is None
        return account


class Upload:
    """`corectl upload …` in a pid namespace of its own: it asks the coreinit there, and other tests'
    are not to be seen."""

    def __init__(self, *arguments, env, cwd="/"):
        self.command = [*AS_PID_1, str(CORECTL), "upload", *map(str, arguments)]
        self.env, self.cwd = clean_environment(**env), cwd
        self.started = threading.Event()

    def start(self):
        self.process = subprocess.Popen(
            self.command, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="backslashreplace")
        self.started.set()
        return self

    @property
    def pid(self):
        """corectl's, in a server that has heard of it."""
        assert self.started.wait(60)
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
            return int(children.read().split()[0])

    def send(self, signo):
        os.kill(self.pid, signo)

    def kill(self):
        """Returns once it is gone, and its locks with it."""
        pidfd = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0]
        os.close(pidfd)

    def finish(self, timeout=120):
        """Returns exit status and log."""
        log, _ = self.process.communicate(timeout=timeout)
        return self.process.returncode, log


def upload(*arguments, env, cwd="/"):
    return Upload(*arguments, env=env, cwd=cwd).start().finish()


def real_crash(directory):
    """The cores dir of a real crash, with its one bundle."""
    directory.mkdir()
    subprocess.run([*AS_PID_1, str(COREINIT), "--cores-dir", str(directory / "cores"), "--",
                    str(CRASH), "segv"], cwd=directory, env=clean_environment(PATH="/usr/bin:/bin"),
                   capture_output=True, timeout=120)
    return directory / "cores"


def account_of(cores):
    crash_json, = cores.glob("*.crash.json")
    return json.loads(crash_json.read_text())
