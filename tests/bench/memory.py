#!/usr/bin/python3
"""How much memory the collection of a core takes, from 10 MB to 16 GB of core, with a cores dir and without.

The core is of random bytes, which don't compress, so that all of it goes through; it is captured by ptrace, and sent to
a server that checks and forgets it. What counts is what the collector's processes have together at their worst: the sum
of their proportional set sizes (PSS), looked at all the time, and the largest resident set (VmHWM) of one. There is no
gdb: what it takes depends on the program's debug information, and it is another program's.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

from tracing import HERE, ROOT, environment

SIZES = {"10 MB": 10, "100 MB": 100, "1 GB": 1000, "4 GB": 4000, "16 GB": 16000}  # in units of 10^6 bytes
CHUNK = 200  # the file that is mapped as often as it takes
LIMIT = 64 << 20
PERIOD = 0.02  # seconds between two looks


class Peaks:
    """The most memory that the collector's processes ever had."""

    def __init__(self, corectl):
        self.corectl = os.stat(corectl)
        self.pss = self.rss = 0

    def is_collector(self, pid):
        exe = os.stat(f"/proc/{pid}/exe")
        return (exe.st_dev, exe.st_ino) == (self.corectl.st_dev, self.corectl.st_ino)

    def look(self):
        pss = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if self.is_collector(pid):
                    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                    status = pathlib.Path(f"/proc/{pid}/status").read_text()
                    pss += int(re.search(r"^Pss: +(\d+)", rollup, re.M)[1]) << 10
                    self.rss = max(self.rss, int(re.search(r"^VmHWM:\s+(\d+)", status, re.M)[1]) << 10)
            except (OSError, TypeError):
                continue  # it has just ended
        self.pss = max(self.pss, pss)


class Server:
    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, HERE / "discarding_s3.py"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())
        return self

    def end(self):
        """Returns the number of bytes, parts and objects that it was sent."""
        self.process.stdin.close()
        return [int(word) for word in self.process.stdout.readline().split()]

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def make_program(directory):
    program = directory / "mapped"
    subprocess.run(["cc", "-O1", "-D_GNU_SOURCE", HERE / "mapped.c", "-o", program], check=True)
    return program


def make_file(directory, megabytes):
    path = directory / f"random{megabytes}"
    if not path.exists():
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1_000_000))
    return path


def measure(build, program, directory, megabytes, has_cores):
    """Returns the peaks of PSS and RSS in bytes, seconds, and the number of parts."""
    chunk = min(megabytes, CHUNK)
    cores = directory / "cores"
    with Server() as server:
        env = environment() | {
            "PATH": "/nonexistent", "S3_BUCKET": "bench", "S3_CHECKSUM": "crc32", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.port}", "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret", "COREINIT_KEEP_LOCAL": "never"}
        command = [build / "coreinit", "--capture", "ptrace", "--collect-timeout", "7200", "--cores-dir",
                   cores if has_cores else "none", "--", program, make_file(directory, chunk), str(megabytes // chunk)]
        peaks, start = Peaks(build / "corectl"), time.monotonic()
        log = directory / "log"
        with log.open("w") as err, subprocess.Popen(command, env=env, stderr=err) as process:
            while process.poll() is None:
                peaks.look()
                time.sleep(PERIOD)
        seconds = time.monotonic() - start
        sent, parts, objects = server.end()
    if process.returncode != 128 + signal.SIGABRT or sent < megabytes * 1_000_000 * 0.9 or objects < 4:
        raise SystemExit(f"{megabytes} MB: {sent} bytes and {objects} objects were sent\n{log.read_text()}")
    return peaks.pss, peaks.rss, seconds, parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", help=f"of {', '.join(SIZES)}; all by default")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--directory", help="where a core of 16 GB has room", default="/var/tmp")
    arguments = parser.parse_args()
    print("| core | cores dir | PSS of all processes | RSS of one | time | parts |\n|---|---|---|---|---|---|")
    worst = 0
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = pathlib.Path(name)
        program = make_program(directory)
        for size in arguments.sizes or SIZES:
            for has_cores in (True, False):
                pss, rss, seconds, parts = measure(arguments.build.resolve(), program, directory, SIZES[size], has_cores)
                worst = max(worst, pss, rss)
                print(f"| {size} | {'yes' if has_cores else 'none'} | {pss / 2**20:.1f} MiB | {rss / 2**20:.1f} MiB "
                      f"| {seconds:.1f} s | {parts} |", flush=True)
    print(f"\nAt most {worst / 2**20:.1f} MiB; {LIMIT >> 20} MiB are allowed.")


main()
