#!/usr/bin/python3
"""How long a process stands still for its snapshot: corectl snapshot's three ways, and gcore.

The process itself measures it (still.c): a thread looks at the clock all the time, and tells the
longest gap. In each round each way has its turn on a process of its own. After a clone it is also
measured what the process's next writes cost, once to every page, while the clone is there and after.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import threading
import time

import fluent_bit
from tracing import HERE, ROOT, environment

# Makes clone(2), and nothing else, end in an error: there is no clone then.
NO_CLONE = """
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
code = b"".join(struct.pack("=HBBI", *line) for line in
                [(0x20, 0, 0, 0), (0x15, 0, 1, 56), (0x06, 0, 0, 0x00050026), (0x06, 0, 0, 0x7fff0000)])
buffer = ctypes.create_string_buffer(code)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


class Still:
    def __init__(self, program, mib, small, wrapper=()):
        self.process = subprocess.Popen([*wrapper, program, str(mib), *(["small"] if small else [])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        self.ask("gap")

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()


def snapshot(corectl, still, out):
    return subprocess.Popen([corectl, "snapshot", str(still.process.pid), "--out", out],
                            env=environment(), stderr=subprocess.PIPE, text=True)


def by_corectl(corectl, still, out, times, name):
    process = snapshot(corectl, still, out)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert ("clone of it" in err) == (name == "clone") and ("was copied" in err) == (name == "copy"), err
    times.setdefault(name, []).append(still.ask("gap"))


def by_gcore(still, out, times):
    subprocess.run(["gcore", "-o", out / "gcore", str(still.process.pid)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times.setdefault("gcore", []).append(still.ask("gap"))


def later_writes(corectl, program, mib, small, out, times):
    with Still(program, mib, small) as still:
        times.setdefault("write before", []).append(still.ask("touch"))
        process = snapshot(corectl, still, out)
        while not list(out.glob("*.core.zip.part")):
            time.sleep(0.001)
        times.setdefault("write first", []).append(still.ask("touch"))
        times.setdefault("write again", []).append(still.ask("touch"))
        process.communicate()
        times.setdefault("write after", []).append(still.ask("touch"))
        times.setdefault("write after, again", []).append(still.ask("touch"))


def account(corectl, pid, out):
    """Takes a snapshot; returns its crash.json."""
    known = set(out.glob("*.crash.json"))
    subprocess.run([corectl, "snapshot", str(pid), "--out", out], check=True, env=environment(),
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    new, = set(out.glob("*.crash.json")) - known
    return json.loads(new.read_text())


def spin_in_worker(corectl, pid):
    """Makes an output worker jump to itself for ever."""
    def gdb(*commands):
        words = [word for command in commands for word in ("-ex", command)]
        return subprocess.run([corectl, "gdb", str(pid), "--", "-nx", "-batch", *words], text=True,
                              capture_output=True, env=environment()).stdout

    found = next(line for line in gdb("thread find flb-out").splitlines() if "flb-out" in line)
    gdb(f"thread {found.split()[1]}", "set *(unsigned short *)$pc = 0xfeeb")


def of_fluent_bit(binary, build, records, out):
    """Under load, stopped, and with a worker in a busy loop; traced by coreinit all the time."""
    corectl = build / "corectl"
    with fluent_bit.Load(binary, records) as load:
        init = subprocess.Popen([build / "coreinit", "-q", "--capture", "ptrace", "--", *load.command],
                                env=environment(), stderr=subprocess.DEVNULL)
        try:
            load.connect().close()
            with open(f"/proc/{init.pid}/task/{init.pid}/children") as children:
                pid = int(children.read().split()[0])
            seconds = []
            driver = threading.Thread(target=lambda: seconds.append(load.run()))
            driver.start()
            time.sleep(0.5)
            pauses = []
            while driver.is_alive():
                pauses.append(account(corectl, pid, out)["snapshot"]["pause_ms"])
                time.sleep(0.2)
            driver.join()
            print(f"Fluent Bit: {load.sink.received} records, all delivered, in {seconds[0]:.1f} s; paused "
                  f"{len(pauses)} times for {', '.join(f'{pause:.1f}' for pause in pauses)} ms")
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.2)
            stopped = account(corectl, pid, out)
            os.kill(pid, signal.SIGCONT)
            spin_in_worker(corectl, pid)
            time.sleep(0.5)
            looping = account(corectl, pid, out)
            for name, told in (("stopped by SIGSTOP", stopped), ("a worker in a busy loop", looping)):
                print(f"Fluent Bit, {name}: core of {told['capture']['core_size'] >> 20} MiB, paused "
                      f"for {told['snapshot']['pause_ms']:.1f} ms")
        finally:
            init.kill()
            init.wait()
            os.kill(pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    corectl = arguments.build / "corectl"
    if "FLUENT_BIT" in os.environ:
        with tempfile.TemporaryDirectory() as directory:
            of_fluent_bit(os.environ["FLUENT_BIT"], arguments.build, 2_000_000, pathlib.Path(directory))
        return
    print(f"{arguments.mib} MiB, milliseconds: median (least-most) of {arguments.rounds}\n")
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / "still"
        subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", "-pthread", HERE / "still.c", "-o", program], check=True)
        for small in (True, False):
            times = {}
            for turn in range(arguments.rounds):
                out = pathlib.Path(directory) / f"out{small}{turn}"
                out.mkdir()
                with Still(program, arguments.mib, small) as still:
                    by_corectl(corectl, still, out, times, "clone")
                with Still(program, arguments.mib, small, ("/usr/bin/python3", "-c", NO_CLONE)) as still:
                    by_corectl(corectl, still, out, times, "copy")
                with Still(program, arguments.mib, small) as still:
                    by_gcore(still, out, times)
                for file in out.iterdir():
                    file.unlink()
                later_writes(corectl, program, arguments.mib, small, out, times)
                for file in out.iterdir():
                    file.unlink()
            print("pages of 4 KiB" if small else "huge pages where the kernel gives them")
            for name, all_times in times.items():
                print(f"  {name:20} {statistics.median(all_times):8.1f} ({min(all_times):.1f}-{max(all_times):.1f})")


if __name__ == "__main__":
    main()
