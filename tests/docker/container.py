"""A container under coreinit: how one is run, and what a crash in it must leave."""

import signal

from bundle import whole_bundle

COREINIT = "/opt/coreinit/bin/coreinit"
CORECTL = "/opt/coreinit/bin/corectl"

# The engine's own default may be anything; the soft limit is coreinit's to raise.
CORE_LIMIT = ("--ulimit", "core=0:1099511627776")


def on(cores, *options):
    return ("-v", f"{cores}:/cores", *options)


def check_bundle(cores, tmp_path, top="crash_here"):
    """One whole bundle, and a gdb that knows from it alone where the crash was."""
    bundle = whole_bundle(cores)
    assert bundle.account["cause"] == "signal"
    backtrace = bundle.backtrace(tmp_path)
    assert f" {top} (" in backtrace.splitlines()[0], backtrace
    assert " main (" in backtrace, backtrace
    assert top in bundle.stacktrace
    return bundle


def check_crash(result, cores, tmp_path, **expected):
    """The whole of the promise: status, log, five artifacts, and a gdb that knows the place."""
    assert result.returncode == 128 + signal.SIGSEGV, result.stderr
    bundle = check_bundle(cores, tmp_path, **expected)
    assert bundle.account["signal"]["number"] == signal.SIGSEGV
    assert expected.get("top", "crash_here") in result.stderr
    return bundle
