#!/usr/bin/python3
"""What being traced costs a program: the same work under `coreinit --capture off` and
`--capture ptrace`, in turn, in one session.

Each round runs untraced, untraced again and traced, in rotating order. The second untraced run is
the yardstick: what its ratio strays from 1, the machine strays. CPU time is that of coreinit, the
program and all its descendants together, so a tracer's own work counts.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

from fluent_bit import Load

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RUNS = {"untraced": "off", "again": "off", "traced": "ptrace"}

# Each takes about a second untraced.
WORKLOADS = {
    "compute": ("compute", 500_000_000, "arithmetic, no system calls"),
    "syscalls": ("syscalls", 10_000_000, "getppid(2)"),
    "pipes": ("pipes", 30_000, "a byte to another process and back"),
    "signals": ("signals", 200_000, "a handled signal"),
    "threads": ("threads", 20_000, "pthread_create and join"),
    "forks": ("forks", 10_000, "fork, exit and wait"),
    "execs": ("execs", 3_000, "posix_spawn of /bin/true and wait"),
}


def coreinit(build, capture, *arguments):
    return [build / "coreinit", "-q", "--capture", capture, "--cores-dir", "/nonexistent", "--",
            *arguments]


def environment():
    """The machine's own settings must not reach a run."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith(("COREINIT_", "TINI_", "S3_", "AWS_"))}


def wait(process):
    """Waits for coreinit; returns the CPU seconds of it and of all that it waited for."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{process.args[0]} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def run_program(build, capture, *arguments):
    """Returns seconds and CPU seconds of a program from start to end."""
    start = time.monotonic()
    process = subprocess.Popen(coreinit(build, capture, *arguments), env=environment())
    cpu = wait(process)
    return time.monotonic() - start, cpu


def run_fluent_bit(build, capture, load):
    """Returns seconds from the first record sent to the last one received, and all CPU seconds."""
    # It tells of every SIGTERM.
    process = subprocess.Popen(coreinit(build, capture, *load.command), env=environment(),
                               stderr=subprocess.DEVNULL)
    try:
        seconds = load.run()
        process.terminate()
        return seconds, wait(process)
    finally:
        if process.returncode is None:
            process.kill()


def alternate(rounds, run):
    """Runs all of RUNS that often, in rotating order. Returns {name: [(seconds, CPU seconds)]}."""
    names = list(RUNS)
    results = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            results[name].append(run(RUNS[name]))
    return results


def spread(ratios):
    """The median, and the middle half: a busy machine's extremes say little."""
    lower, middle, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return f"{middle:.3f} ({lower:.3f}–{upper:.3f})"


def report(what, count, results):
    """Prints two rows, time and CPU time; each ratio is that of runs of one round."""
    for index, measure in ((0, "time"), (1, "CPU time")):
        base, again, traced = ([run[index] for run in results[name]] for name in RUNS)
        more = statistics.median(t - b for t, b in zip(traced, base)) / count
        print(f"| {what} | {measure} | {statistics.median(base):.2f} s "
              f"| {spread([a / b for a, b in zip(again, base)])} | {min(again) / min(base):.3f} "
              f"| {spread([t / b for t, b in zip(traced, base)])} | {min(traced) / min(base):.3f} "
              f"| {more * 1e6:+.2f} µs |", flush=True)
        what = ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD",
                        help=f"of {', '.join(WORKLOADS)}, fluent-bit; all by default")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build",
                        help="where coreinit and corectl are")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--records", type=int, default=1_000_000,
                        help="records of a Fluent Bit run")
    options = parser.parse_args()
    fluent_bit = os.environ.get("FLUENT_BIT")
    chosen = options.workloads or [*WORKLOADS, *(["fluent-bit"] if fluent_bit else [])]

    print(f"{options.rounds} rounds on {os.cpu_count()} CPUs; ratios to the untraced run of the "
          "same round: median (middle half)\n")
    print("| workload | | untraced | again / untraced | best / best | **traced / untraced** "
          "| **best / best** | more each |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        program = pathlib.Path(directory) / "load"
        subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", program, HERE / "load.c"],
                       check=True)
        for name in chosen:
            if name == "fluent-bit":
                if not fluent_bit:
                    raise SystemExit("FLUENT_BIT=/path/to/fluent-bit is not set")
                with Load(fluent_bit, options.records) as load:
                    results = alternate(options.rounds, lambda capture: run_fluent_bit(
                        options.build, capture, load))
                report(f"`fluent-bit`: {options.records:,} records", options.records, results)
            else:
                mode, count, what = WORKLOADS[name]
                results = alternate(options.rounds, lambda capture: run_program(
                    options.build, capture, program, mode, str(count)))
                report(f"`{name}`: {count:,} × {what}", count, results)


if __name__ == "__main__":
    main()
