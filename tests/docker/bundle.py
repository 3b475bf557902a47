"""A bundle in a cores directory, checked as its reader would use it."""

import json
import re
import subprocess
import zipfile

import jsonschema
from engine import REPOSITORY

SUFFIXES = (".core.zip", ".crash.json", ".executable", ".libs.zip", ".stacktrace")
SCHEMA = REPOSITORY / "src" / "bundle" / "crash.schema.json"


class Bundle:
    """The one bundle in a directory that holds nothing else."""

    def __init__(self, cores):
        files = sorted(path.name for path in cores.iterdir())
        self.id = files[0][: -len(SUFFIXES[0])]
        assert files == [self.id + suffix for suffix in SUFFIXES]
        assert re.fullmatch(r"issue_\d{4}-\d{2}-\d{2}T\d{6}_[^_]+_\w+", self.id)
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in cores.iterdir())
        self.cores = cores

    def path(self, suffix):
        return self.cores / (self.id + suffix)

    def crash(self):
        """crash.json, valid and complete."""
        crash = json.loads(self.path(".crash.json").read_text())
        jsonschema.validate(crash, json.loads(SCHEMA.read_text()))
        assert crash["complete"] is True
        return crash

    def stacktrace(self):
        return self.path(".stacktrace").read_text()

    def backtrace(self, work):
        """What gdb on this machine tells of the unpacked bundle, with no help from the image."""
        core, sysroot = work / "core", work / "sysroot"
        subprocess.run(["unzip", "-tq", self.path(".core.zip")], check=True)
        with zipfile.ZipFile(self.path(".core.zip")) as archive:
            assert archive.namelist() == ["core"]
            archive.extractall(work)
        with zipfile.ZipFile(self.path(".libs.zip")) as archive:
            archive.extractall(sysroot)
        gdb = subprocess.run(
            ["gdb", "-nx", "-batch", "-ex", f"set sysroot {sysroot}", "-ex", "bt"]
            + [self.path(".executable"), core],
            capture_output=True,
            text=True,
            timeout=120,
        )
        return gdb.stdout[gdb.stdout.rindex("#0 ") :]
