"""The cores dir where anyone may write, and where several coreinits work, with the real programs."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

from bundle import SUFFIXES, bundles, whole_bundle
from conftest import AS_PID_1, CORECTL, CRASH
from s3_server import StrictS3, error, stall

NOBODY = 65534
SWEEP = [*AS_PID_1, str(CORECTL), "upload", "--sweep"]  # where no other coreinit's settings are
PATIENCE = 60


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


@pytest.fixture
def crash(run, without_gdb):
    """Crashes a program, and returns coreinit's result."""
    def crash(*options, env=None, program=CRASH, **kwargs):
        result = run("-v", *options, "--", program, "segv", env={"PATH": without_gdb, **(env or {})},
                     **kwargs)
        assert result.returncode == 139, result.stderr
        return result
    return crash


@pytest.fixture
def sweep(run):
    """Runs `corectl upload --sweep`."""
    def sweep(env=None, status=0):
        result = subprocess.run(SWEEP, env=run.environment(**(env or {})), capture_output=True,
                                text=True, timeout=120)
        assert result.returncode == status, result.stderr
        return result
    return sweep


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def ids(directory):
    return sorted(p.name.removesuffix(".crash.json") for p in directory.glob("*.crash.json")
                  if p.is_file())


def journal(directory, bundle_id):
    return (directory / f".{bundle_id}.journal").read_text().splitlines()


def sent(s3):
    """The ids of which objects are in the bucket, and that they are whole bundles."""
    found = {key.rsplit("/", 1)[-1] for key in s3.objects}
    whole = {name.removesuffix(".crash.json") for name in found if name.endswith(".crash.json")}
    assert found == {bundle_id + suffix for bundle_id in whole for suffix in SUFFIXES}
    return sorted(whole)


# Planted files


def plant(directory, name, how, precious):
    path = directory / name
    if how == "link":
        path.symlink_to(precious)
    elif how == "dangling":
        path.symlink_to(directory / "made-by-coreinit")
    elif how == "hard link":
        os.link(precious, path)
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "device":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
    elif how == "directory":
        path.mkdir()
    else:
        path.write_text("planted")
        os.chown(path, NOBODY, NOBODY)


WAYS = ["link", "dangling", "hard link", "fifo", "device", "directory", "foreign file"]


@pytest.mark.parametrize("how", WAYS)
def test_what_is_planted_under_a_bundles_names_is_left_alone(run, crash, how):
    """The names of the next minutes are known to everyone but for the second of the crash."""
    run.cores.mkdir()
    run.cores.chmod(0o777)
    precious = run.cwd.parent / "precious"
    precious.write_text("precious")
    planted = []
    now = int(time.time())
    for second in range(now, now + 2 * PATIENCE):
        date = time.strftime("%FT%H%M%S", time.gmtime(second))
        bundle_id = f"issue_{date}_{socket.gethostname()}_r"
        planted.append(f".{bundle_id}.journal")
        planted += [bundle_id + suffix + part for suffix in SUFFIXES for part in ("", ".part")]
    for name in planted:
        plant(run.cores, name, how, precious)
    before = {name: (run.cores / name).lstat() for name in planted}

    crash(env={"RUN_ID": "r"})
    made = {p.name for p in run.cores.iterdir()} - set(planted)
    bundle_id, = [name.removesuffix(".crash.json") for name in made if name.endswith(".crash.json")]
    assert bundle_id.endswith("_r-2") and \
        made == {f".{bundle_id}.journal", *(bundle_id + suffix for suffix in SUFFIXES)}
    for name in made:
        now_is = (run.cores / name).lstat()
        assert now_is.st_mode == stat.S_IFREG | 0o600 and now_is.st_uid == os.getuid()
    for name, was in before.items():
        now_is = (run.cores / name).lstat()
        assert (now_is.st_ino, now_is.st_mode, now_is.st_uid, now_is.st_size) == \
            (was.st_ino, was.st_mode, was.st_uid, was.st_size)
    assert precious.read_text() == "precious"


def test_a_thousand_foreign_files_are_no_hindrance(run, crash, s3, sweep):
    run.cores.mkdir()
    run.cores.chmod(0o1777)
    for i in range(250):
        for name in (f"x{i}.crash.json", f".x{i}.journal", f"x{i}.core.zip", f"\x1b[2J\n{i}.stacktrace"):
            (run.cores / name).write_text("{}")
            os.chown(run.cores / name, NOBODY, NOBODY)
    foreign = {p.name for p in run.cores.iterdir()}
    crash()
    bundle_id, = [name for name in ids(run.cores) if not name.startswith("x")]
    result = sweep(s3.env)
    assert sent(s3) == [bundle_id]
    assert "\x1b" not in result.stderr
    assert foreign <= {p.name for p in run.cores.iterdir()}


@pytest.mark.parametrize("text", [
    pytest.param(b"", id="empty"),
    pytest.param(b"\0" * 4096, id="zeros"),
    pytest.param(b"x" * (1 << 20), id="huge"),
    pytest.param(b"coreinit journal 1\n" + b"\xff\0\n" * 1000, id="garbage"),
    pytest.param(b"coreinit journal 1\ndestination s3://other/place\n", id="another destination"),
    pytest.param(b"coreinit journal 1\nsent-all\nupload .core.zip \x1b[2J", id="torn"),
])
def test_a_journal_that_anyone_wrote_makes_nothing_worse(run, crash, s3, sweep, text):
    crash()
    bundle_id, = ids(run.cores)
    (run.cores / f".{bundle_id}.journal").write_bytes(text)
    before = {p.name: p.read_bytes() for p in run.cores.iterdir() if not p.name.startswith(".")}
    understood = text.startswith(b"coreinit journal 1\n") or not text
    result = sweep(s3.env, status=0 if understood else 1)
    is_left = b"sent-all" in text or b"other" in text or not understood
    assert sent(s3) == ([] if is_left else [bundle_id])
    if is_left:
        assert {name: (run.cores / name).read_bytes() for name in before} == before
    assert ("is left alone" in result.stderr) == (not understood)
    crash()  # nor is it in the way of the next one
    assert len(bundles(run.cores)) == 2


# Names that are anyone's


@pytest.mark.parametrize("env, hostname, name", [
    ({"RUN_ID": "../../escaped"}, "../../escaped", "a\nb"),
    ({"RUN_ID": "a\nb\x1b[2J\x7f"}, "..", "\x1b[2J"),
    ({"RUN_ID": "x.crash.json"}, "a\nb", "(x) R 1"),
    ({"RUN_ID": "%s%n$(touch escaped)`touch escaped`;touch escaped"}, "\x1b[2J", "%s%n"),
    ({"S3_KEY_PREFIX": "../.."}, "ÿ", "-rf"),
    ({"S3_KEY_PREFIX": "/etc/../"}, "%s%n", "$(touch escaped)"),
    ({"S3_KEY_PREFIX": "."}, " ", "ÿ"),
    ({"S3_KEY_PREFIX": "a" * 1024}, ".", " "),
], ids=range(8))
def test_no_name_leads_out_of_the_cores_dir(run, crash, env, hostname, name):
    program = run.cwd / name
    shutil.copy(CRASH, program)
    before = {*run.cwd.parent.iterdir(), run.cores}
    script = 'printf %s "$0" >/proc/sys/kernel/hostname && exec "$@"'
    result = crash(env=env, program=program, wrapper=["unshare", "--uts", "sh", "-c", script, hostname])
    bundle = whole_bundle(run.cores)
    assert set(run.cwd.parent.iterdir()) == before and list(run.cwd.iterdir()) == [program]
    assert "/" not in bundle.id and bundle.id.isprintable()
    assert bundle.account["signal"]["name"] == "SIGSEGV"
    assert not set(result.stderr) & {"\x1b", "\x7f"}


def test_the_directory_is_the_owners_alone_and_so_is_all_in_it(run, crash):
    """Also with a umask that takes nothing away."""
    crash(umask=0)
    assert stat.S_IMODE(run.cores.stat().st_mode) == 0o700
    whole_bundle(run.cores)  # whose files are 0600
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in run.cores.iterdir())


# What stays


@pytest.mark.parametrize("keep, stays", [("always", True), ("until-sent", False), ("never", False)])
def test_what_was_sent_stays_as_keep_local_says(run, crash, s3, keep, stays):
    crash("--keep-local", keep, env=s3.env)
    bundle_id, = sent(s3)
    assert ids(run.cores) == ([bundle_id] if stays else [])
    if stays:
        assert journal(run.cores, bundle_id)[-1] == "sent-all"
    else:
        assert not list(run.cores.iterdir())


@pytest.mark.parametrize("keep", ["until-sent", "never"])
def test_what_could_not_be_sent_stays(run, crash, s3, sweep, keep):
    s3.fail(error(403, "AccessDenied", "Access Denied"), times=100)
    crash("--keep-local", keep, env=s3.env)
    bundle_id, = ids(run.cores)
    assert bundles(run.cores)[0].suffixes == SUFFIXES
    assert "sent-all" not in journal(run.cores, bundle_id)
    s3.faults.clear()
    sweep({**s3.env, "COREINIT_KEEP_LOCAL": keep})
    assert sent(s3) == [bundle_id]
    assert not list(run.cores.iterdir())


def test_the_oldest_that_were_sent_make_room_first(run, crash, s3):
    crash(env={"RUN_ID": "unsent"})
    crash(env={**s3.env, "RUN_ID": "sent"})
    crash("--max-files", "10", env={"RUN_ID": "new"})
    # The second one goes to the bucket, and this coreinit has none: it isn't its to remove.
    assert {name.rsplit("_", 1)[-1] for name in ids(run.cores)} == {"sent", "new"}

    result = crash("--max-files", "10", env={**s3.env, "RUN_ID": "newest"})
    assert {name.rsplit("_", 1)[-1] for name in ids(run.cores)} == {"new", "newest"}
    assert "was not sent" not in result.stderr


def test_an_unsent_bundle_is_removed_only_with_a_warning(run, crash):
    crash(env={"RUN_ID": "first"})
    first, = ids(run.cores)
    result = crash("--max-use", "1", env={"RUN_ID": "second"})
    assert f"warning: bundle {first} was not sent, and is removed all the same" in result.stderr
    second, = ids(run.cores)
    assert second.endswith("_second"), "the newest stays even if it alone is more than that"
    whole_bundle(run.cores)


# Two coreinits


def test_what_goes_elsewhere_is_neither_sent_nor_removed(run, crash, s3, sweep):
    s3.fail(error(403, "AccessDenied", "Access Denied"), times=100)
    crash(env={**s3.env, "S3_KEY_PREFIX": "mine"})
    s3.faults.clear()
    before = {p.name: p.read_bytes() for p in run.cores.iterdir()}
    other = {**s3.env, "S3_KEY_PREFIX": "other", "COREINIT_MAX_USE": "1", "COREINIT_MAX_FILES": "1",
             "COREINIT_KEEP_LOCAL": "never"}
    sweep(other)
    sweep({**other, "S3_BUCKET": ""}, status=1)
    crash(env={**other, "RUN_ID": "theirs"})
    assert {p.name: p.read_bytes() for p in run.cores.iterdir()} == before
    assert [name.endswith("_theirs") for name in sent(s3)] == [True]
    sweep({**s3.env, "S3_KEY_PREFIX": "mine"})
    assert len(sent(s3)) == 2


def test_what_another_works_on_is_left_alone_until_it_is_killed(run, without_gdb, s3, sweep):
    """One is killed in the middle of sending, and the other sends what it left."""
    s3.fail(stall(10 * PATIENCE), "CreateMultipartUpload", times=100)
    s3.fail(stall(10 * PATIENCE), "PutObject", times=100)
    first = run.start("--", CRASH, "segv", env={**s3.env, "PATH": without_gdb})
    wait_for(lambda: ids(run.cores) and s3.requests, "nothing was sent")
    bundle_id, = ids(run.cores)
    s3.faults.clear()

    result = sweep({**s3.env, "COREINIT_MAX_USE": "1", "TINI_VERBOSITY": "2"})
    assert not s3.objects, result.stderr
    assert ids(run.cores) == [bundle_id]

    first.kill()  # and by that its whole pid namespace
    first.communicate(timeout=PATIENCE)
    s3.stopping.set()  # nobody waits for the stalled replies any more
    wait_for(lambda: sweep(s3.env) and s3.objects, "the lock outlives its holder")
    assert sent(s3) == [bundle_id]
    assert bundles(run.cores)[0].suffixes == SUFFIXES
    assert journal(run.cores, bundle_id)[-1] == "sent-all"


def test_of_many_sweeps_at_once_one_sends_each_bundle(run, crash, s3):
    for i in range(3):
        crash(env={"RUN_ID": f"r{i}"})
    sweeps = [subprocess.Popen(SWEEP, env=run.environment(**s3.env),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
              for _ in range(6)]
    for process in sweeps:
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    assert sent(s3) == ids(run.cores) and len(ids(run.cores)) == 3
    puts = [r.path for r in s3.requests if r.action in ("PutObject", "CompleteMultipartUpload")]
    assert len(puts) == len(set(puts)) == 3 * len(SUFFIXES)


@pytest.mark.parametrize("after", [1, 4])
def test_a_sweep_that_is_killed_is_ended_by_another(run, crash, s3, sweep, after):
    """Killed after so many requests. The other one sends what is missing, and again at most the one
    object whose arrival was not noted any more."""
    crash(env={"RUN_ID": "a"})
    crash(env={"RUN_ID": "b"})
    process = subprocess.Popen(SWEEP, env=run.environment(**s3.env),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(s3.requests) >= after or process.poll() is not None, "nothing was sent")
    process.send_signal(signal.SIGKILL)
    process.wait()
    sweep(s3.env)
    assert sent(s3) == ids(run.cores) and len(ids(run.cores)) == 2
    assert all(journal(run.cores, name)[-1] == "sent-all" for name in ids(run.cores))
    puts = [r.path for r in s3.requests if r.action in ("PutObject", "CompleteMultipartUpload")]
    assert len(puts) - len(set(puts)) <= 1
