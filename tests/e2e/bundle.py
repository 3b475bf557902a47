"""A bundle in a cores directory, checked and opened as its reader would. Also tests/docker's."""

import json
import pathlib
import stat
import subprocess
import zipfile

import jsonschema

SCHEMA = json.loads((pathlib.Path(__file__).resolve().parents[2] /
                     "src/bundle/crash.schema.json").read_text())
SUFFIXES = {".stacktrace", ".core.zip", ".executable", ".libs.zip", ".crash.json"}


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

    def gdb(self, where, command):
        """What gdb says of the unpacked bundle, with nothing taken from this machine."""
        core = self.unpack(where)
        return subprocess.run(["gdb", "-nx", "-batch", "-q", "-iex", "set debuginfod enabled off",
                               "-ex", f"set sysroot {where / 'sysroot'}",
                               "-ex", f"file {self.path('.executable')}",
                               "-ex", f"core-file {core}", "-ex", command],
                              capture_output=True, text=True, timeout=120).stdout

    def backtrace(self, where):
        """The stack of the thread that crashed."""
        out = self.gdb(where, "bt")
        return out[out.rindex("#0 "):]

    def stacks(self, where):
        """Those of all threads."""
        return self.gdb(where, "thread apply all bt")

    def core_entry(self):
        with zipfile.ZipFile(self.path(".core.zip")) as archive:
            return archive.getinfo("core")


def bundles(directory):
    found = [Bundle(directory, p) for p in sorted(directory.glob("*.crash.json"))]
    leftovers = list(directory.glob("*.part"))
    assert not leftovers, leftovers
    return found


def whole_bundle(directory):
    """The one bundle of a directory that holds nothing else, with all that a bundle can have."""
    found = bundles(directory)
    assert len(found) == 1 and found[0].suffixes == SUFFIXES, list(directory.iterdir())
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in directory.iterdir())
    journal = f".{found[0].id}.journal"
    assert {p.name for p in directory.iterdir()} == {journal, *(found[0].id + s for s in SUFFIXES)}
    assert found[0].account["complete"] is True
    return found[0]
