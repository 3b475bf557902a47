"""What the tests of tracing share: a program that is run untraced and traced."""

import contextlib
import difflib
import time

from bundle import bundles
from conftest import BUILD

TRACED = BUILD / "tests/traced"
LEAKY = BUILD / "tests/leaky"

UNTRACED = ("-q", "--capture", "off", "--")
BY_PTRACE = ("--capture", "ptrace", "--")

AS_USER = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")

# What Docker's default leaves out of root's capabilities and matters to a tracer.
AS_IN_DOCKER = ("setpriv", "--bounding-set=-sys_admin,-sys_ptrace,-sys_resource",
                "--inh-caps=-all")

# So that the kernel would leave a second core, were it not kept from it.
UNLIMITED = ("prlimit", "--core=unlimited:unlimited")

# So that the kernel leaves none, whatever core_pattern is.
WITHOUT_CORES = ("prlimit", "--core=0:0", "setpriv", "--bounding-set=-sys_resource")


def assert_same(traced, untraced):
    """Two results of a command, which say the same and end the same way."""
    assert untraced.stdout or untraced.returncode, untraced.stderr
    assert untraced.returncode != 99, untraced.stderr
    difference = "\n".join(difflib.unified_diff(untraced.stdout.splitlines(),
                                                traced.stdout.splitlines(),
                                                "untraced", "traced", lineterm=""))
    assert traced.stdout == untraced.stdout, f"{difference}\n{traced.stderr}"
    assert traced.returncode == untraced.returncode, traced.stderr


def no_crash(run, *command, **kwargs):
    """A command that says the same both ways and leaves no bundle."""
    untraced = run(*UNTRACED, *command, **kwargs)
    result = run(*BY_PTRACE, *command, **kwargs)
    assert_same(result, untraced)
    assert not run.cores.exists() or not list(run.cores.iterdir()), result.stderr
    return result


def crashes(run, *command, count=1, env=None, wrapper=UNLIMITED, **kwargs):
    """
    A command that says and ends the same both ways, and leaves this many bundles when traced, each
    with a core, and nothing by the kernel. Returns the bundles.
    """
    untraced = run(*UNTRACED, *command, env=env, **kwargs)
    traced = run(*BY_PTRACE, *command, env=env, wrapper=wrapper, **kwargs)
    assert_same(traced, untraced)
    assert not list(run.cwd.iterdir()), "the kernel wrote a second core"
    found = bundles(run.cores)
    assert len(found) == count, traced.stderr
    for bundle in found:
        assert ".core.zip" in bundle.suffixes, (bundle.account["capture"], traced.stderr)
        assert bundle.account["capture"]["mode"] == "ptrace"
    return found


def crash_of(run, *command, **kwargs):
    """The one bundle of crashes()."""
    bundle, = crashes(run, *command, **kwargs)
    return bundle


def functions(bundle):
    return [frame["function"] for frame in bundle.account["frames"] or []]


def wait_for(condition, what, timeout=30):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(what)


def children_of(pid):
    with contextlib.suppress(FileNotFoundError):
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [int(child) for child in children.read().split()]
    return []
