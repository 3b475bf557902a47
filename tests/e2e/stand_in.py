"""
What a stand-in for the collector may do, where the collector itself doesn't matter to a test: its
script begins with `from stand_in import *` (container.py). Each call is told in a line of the file
"calls" beside it.
"""

import ctypes
import json
import os
import pathlib
import signal
import sys
import time

PATIENCE = 60  # seconds, of a stand-in that nobody lets go on
SI_QUEUE = -1


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


class Record(ctypes.Structure):
    """The beginning of struct crash_record (src/init/crash_record.h)."""

    _fields_ = [("magic", ctypes.c_uint32), ("version", ctypes.c_uint32),
                ("size", ctypes.c_uint32), ("attempt", ctypes.c_uint32),
                ("wait_code", ctypes.c_int32), ("wait_status", ctypes.c_int32),
                ("pid", ctypes.c_int32), ("is_program", ctypes.c_bool),
                ("ended_realtime", Timespec), ("ended_boottime", Timespec),
                ("ordinal", ctypes.c_uint32), ("is_brief", ctypes.c_bool),
                ("is_report", ctypes.c_bool), ("n_crashes", ctypes.c_uint32),
                ("n_restarts", ctypes.c_uint32), ("was_asked_to_stop", ctypes.c_bool),
                ("before", ctypes.c_char * 1024), ("now", ctypes.c_char * 1024)]

    def oom_kills(self):
        counts = [int(line.split()[1]) for text in (self.before, self.now)
                  for line in text.decode().splitlines() if line.startswith("oom_kill ")]
        return counts[1] - counts[0] if len(counts) == 2 else None


here = pathlib.Path(sys.argv[0]).parent
is_sweep = sys.argv[1:2] == ["upload"]
record = None


def tell():
    """Tells of this call."""
    with open("/proc/self/status") as status:
        blocked = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
    call = {name: getattr(record, name) for name, kind in Record._fields_
            if kind in (ctypes.c_uint32, ctypes.c_int32, ctypes.c_bool)}
    call.update(arguments=sys.argv[1:], own_pid=os.getpid(), nice=os.nice(0), blocked=blocked,
                oom_kills=record.oom_kills(),
                oom_score_adj=int(pathlib.Path("/proc/self/oom_score_adj").read_text()))
    with open(here / "calls", "a") as calls:
        calls.write(json.dumps(call) + "\n")


def take_core():
    """Says that the core is ours: what is held may die, and the program may be started again."""
    pipes = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2 and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:"):
                pipes.append(fd)
        except FileNotFoundError:  # the listing's own
            pass
    os.write(max(pipes), b"\0")


def wait_for_go():
    deadline = time.monotonic() + PATIENCE
    while not (here / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def wait_for_word():
    """The milliseconds that coreinit leaves; -1: a SIGTERM without; None: it says nothing."""
    info = (ctypes.c_int * 32)()
    mask = (ctypes.c_ulong * 16)(1 << signal.SIGTERM - 1)
    patience = (ctypes.c_long * 2)(PATIENCE, 0)
    if ctypes.CDLL(None).sigtimedwait(mask, info, patience) != signal.SIGTERM:
        return None
    return info[6] if info[2] == SI_QUEUE else -1


def say(word):
    with open(here / "words", "a") as words:
        words.write(f"{word}\n")


def die(signo):
    os.kill(os.getpid(), signo)
    time.sleep(PATIENCE)


if sys.argv[-2:-1] == ["--record-fd"]:
    record = Record.from_buffer_copy(os.pread(int(sys.argv[-1]), ctypes.sizeof(Record), 0))
    tell()
    if not is_sweep:  # as a collector does: a core that stays is one that appeared
        (here / "work/core").unlink(missing_ok=True)
