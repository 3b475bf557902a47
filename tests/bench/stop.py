#!/usr/bin/python3
"""How long after a fatal signal the crashing thread's stack is on stderr, the core is complete, and
the program is dead: captured by ptrace, by the kernel, and what gdb and gcore need for the like.

In each round each of them gets a process of its own that waits: coreinit's are killed from outside,
and times count from there; gdb attaches to the third one, and its times count from its start.
"""

import argparse
import os
import pathlib
import re
import select
import signal
import statistics
import subprocess
import tempfile
import threading
import time

from fluent_bit import Load
from tracing import HERE, ROOT, environment

UNIT = "#include <stdint.h>\n"
UNIT_FUNCTIONS = 500
UNIT_FUNCTION = """
struct state_{i} {{ uint64_t total; int32_t weights[{n}]; struct state_{i} *next; }};

__attribute__((used)) static uint64_t step_{i}(struct state_{i} *state, uint32_t count)
{{
    uint64_t sum = state->total;

    for (uint32_t index = 0; index < count; index++) {{
        int32_t weight = state->weights[index % {n}];
        uint64_t product = sum * (uint64_t)weight + {i};

        sum = product & 1 ? sum ^ product >> 1 : sum + product;
    }}
    return state->next ? sum : sum + 1;
}}
"""
EXECUTABLE_SIZE = 50 << 20

FRAME = re.compile(rb"(?:coreinit: error: )?#\d+ ")


def make_held(directory):
    """Builds held.c into an executable of 50 MB: one object file with debug information, linked
    as often as that takes."""
    unit = directory / "unit.o"
    subprocess.run(["cc", "-g", "-O0", "-xc", "-", "-c", "-o", unit], check=True, text=True,
                   input=UNIT + "".join(UNIT_FUNCTION.format(i=i, n=i % 7 + 2)
                                        for i in range(UNIT_FUNCTIONS)))
    program = directory / "held"

    def link(copies):
        subprocess.run(["cc", "-g", "-O1", "-D_GNU_SOURCE", "-pthread", HERE / "held.c",
                        *[unit] * copies, "-o", program], check=True)
        return program.stat().st_size

    link(EXECUTABLE_SIZE // (link(100) // 100))
    return program


def read_lines(stream, lines):
    for line in stream:
        lines.append((time.monotonic(), line.rstrip(b"\n")))


def first_stack(lines):
    """When the last frame of the first stack came."""
    when = None
    for arrived, line in lines:
        if FRAME.match(line):
            when = arrived
        elif when and not line.startswith(b" "):
            break
    return when


class NoCore(Exception):
    """A crash gave no bundle with a core; what coreinit said."""


class Held:
    """A program under coreinit that is to be killed."""

    def __init__(self, build, capture, command, directory):
        self.cores = directory / "cores"
        self.process = subprocess.Popen(
            [build / "coreinit", "--capture", capture, "--cores-dir", self.cores, "--", *command],
            env=environment(), cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = []
        self.reader = threading.Thread(target=read_lines, args=(self.process.stderr, self.lines))
        self.reader.start()
        self.pid = None  # known once it is ready: coreinit makes other children before it

    def find(self):
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], check=True,
                                  capture_output=True, text=True).stdout
        self.pid = int(children)

    def kill(self, number):
        """Kills it; returns {what: milliseconds since}."""
        pidfd = os.pidfd_open(self.pid)
        # ctime, which a file gets from its last rename, is of this clock.
        to_real = time.time() - time.monotonic()
        self.lines.clear()
        start = time.monotonic()
        os.kill(self.pid, number)
        select.select([pidfd], [], [])
        dead = time.monotonic()
        os.close(pidfd)
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()
        stack = first_stack(self.lines)
        cores = list(self.cores.glob("*.core.zip"))
        if not stack or len(cores) != 1:
            raise NoCore("\n".join(line.decode() for _, line in self.lines))
        core = cores[0].stat().st_ctime - to_real
        return {what: (when - start) * 1000
                for what, when in (("stack", stack), ("core", core), ("dead", dead))}

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def examine(held, directory):
    """What gdb and gcore need with the living process; returns {what: milliseconds}."""
    lines = []
    start = time.monotonic()
    with subprocess.Popen(["gdb", "-nx", "-q", "-batch", "-iex", "set debuginfod enabled off",
                           "-p", str(held.pid), "-ex", "bt"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as gdb:
        read_lines(gdb.stdout, lines)
    stack = first_stack(lines)
    if not stack:
        raise SystemExit("gdb shows no stack")
    times = {"gdb": (stack - start) * 1000}

    start = time.monotonic()
    subprocess.run(["gcore", "-o", directory / "peer", str(held.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times["gcore"] = (time.monotonic() - start) * 1000
    subprocess.run(["gzip", "-1", directory / f"peer.{held.pid}"], check=True)
    times["gcore + gzip"] = (time.monotonic() - start) * 1000
    return times


def measure(build, capture, command, wait_ready, number):
    """One process's times."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        held = Held(build, capture, command, directory)
        wait_ready(held)
        held.find()
        if capture == "off":
            try:
                return examine(held, directory)
            finally:
                held.end()
        return {f"{capture} {what}": ms for what, ms in held.kill(number).items()}


ROWS = (
    ("the crashing thread's stack is on stderr", "stack", "gdb"),
    ("`.core.zip` is complete", "core", "gcore + gzip"),
    ("the program is dead", "dead", "gcore"),
)


def cell(times, name):
    values = [run[name] for run in times if name in run]
    if not values:
        return "–"
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"


def report(what, times):
    print(f"\n{what}\n\n| ms after the kill | ptrace | kernel | peer, from its start |")
    print("|---|---|---|---|")
    for row, name, peer in ROWS:
        print(f"| {row} | {cell(times, 'ptrace ' + name)} | {cell(times, 'kernel ' + name)} "
              f"| {peer}: {cell(times, peer)} |", flush=True)


def run(options, what, command, wait_ready, number):
    times = []
    for _ in range(options.rounds):
        for capture in ("ptrace", "kernel", "off"):
            try:
                times.append(measure(options.build, capture, command, wait_ready, number))
            except NoCore as said:
                if capture != "kernel":  # whose cores need the host's help
                    raise SystemExit(f"no core was captured:\n{said}") from None
    report(what, times)


def is_ready(held):
    if held.process.stdout.readline() != b"ready\n":
        raise SystemExit("the program doesn't start")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build",
                        help="where coreinit and corectl are")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--resident", type=int, default=1024, metavar="MIB",
                        help="memory of the second process; 0: leave it out")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        program = make_held(pathlib.Path(directory))
        size = f"{program.stat().st_size >> 20} MiB executable with debug information, 8 threads"
        run(options, f"{size}, little memory", [program, "0"], is_ready, signal.SIGSEGV)
        if options.resident:
            run(options, f"{size}, {options.resident} MiB resident",
                [program, str(options.resident)], is_ready, signal.SIGSEGV)
    if fluent_bit := os.environ.get("FLUENT_BIT"):
        with Load(fluent_bit, 100_000) as load:
            # It has a handler for SIGSEGV, and none for SIGABRT.
            run(options, "Fluent Bit, after 100,000 records", load.command,
                lambda held: load.run(), signal.SIGABRT)


if __name__ == "__main__":
    main()
