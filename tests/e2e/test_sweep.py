"""What an earlier life left in the cores dir is sent by the next one, once and whole."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time
import zipfile

import jsonschema
import pytest

from bundle import SCHEMA, SUFFIXES
from conftest import CRASH
from left import Left, Upload, account_of, real_crash, upload
from s3_server import S3rver, StrictS3, answer, error, lose_reply

MIB = 1 << 20
SMALL = {".stacktrace": b"#0 crash_here\n", ".core.zip": b"PK core", ".executable": b"\x7fELF",
         ".libs.zip": b"PK libs"}
# Of a core that is just too large for one piece, in parts of 8 MiB.
N_PARTS = 3
LARGE = {**SMALL, ".core.zip": bytes(range(256)) * (16 * MIB // 256 + 1)}


@pytest.fixture(scope="module")
def crash(tmp_path_factory):
    return real_crash(tmp_path_factory.mktemp("real") / "crash")


@pytest.fixture(scope="module")
def account(crash):
    return account_of(crash)


@pytest.fixture
def cores(tmp_path):
    directory = tmp_path / "cores"
    directory.mkdir()
    return directory


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


@pytest.fixture
def sweep_env(s3, cores):
    return {**s3.env, "COREINIT_CORES_DIR": cores, "AWS_MAX_ATTEMPTS": "1"}


def test_what_an_earlier_life_left_is_sent_once(account, cores, s3, sweep_env):
    left = [Left(cores, f"issue_{n}", account, {**SMALL, ".core.zip": b"PK" * n}) for n in range(3)]
    status, log = upload("--sweep", env=sweep_env)
    assert status == 0, log
    for bundle in left:
        bundle.check_sent(s3.objects)
        assert f"bundle {bundle.id} is in s3://{s3.bucket}/issue" in log
    assert len(s3.objects) == 3 * len(SUFFIXES)

    n_requests = len(s3.requests)
    assert upload("--sweep", env=sweep_env) == (0, "")
    assert len(s3.requests) == n_requests


def test_what_is_in_the_cores_dir_says_that_it_was_sent(account, cores, s3, sweep_env):
    left = Left(cores, "issue_a", account, SMALL)
    upload("--sweep", env=sweep_env)
    assert left.path(".crash.json").read_bytes() == s3.objects["issue/issue_a.crash.json"]
    assert all(fate["in_cores_dir"] for fate in json.loads(
        left.path(".crash.json").read_text())["artifacts"].values())


def test_a_real_server_has_it_byte_for_byte(account, cores, tmp_path):
    left = Left(cores, "issue_a", account, LARGE)
    with S3rver(tmp_path / "s3") as s3:
        status, log = upload("--sweep", env={**s3.env, "COREINIT_CORES_DIR": cores})
        assert status == 0, log
        left.check_sent({key: s3.read(key) for key in s3.keys()})


def test_two_sweeps_at_once_send_each_object_once(account, cores, s3, sweep_env):
    left = [Left(cores, f"issue_{n}", account, SMALL) for n in range(6)]
    sweeps = [Upload("--sweep", env=sweep_env).start() for _ in range(2)]
    for sweep in sweeps:
        status, log = sweep.finish()
        assert status == 0, log
    # Each lists the directory before the other is done, so what is locked is passed over.
    for bundle in left:
        bundle.check_sent(s3.objects)
    assert len(s3.requests) == len(left) * len(SUFFIXES)


def test_a_bundle_that_somebody_works_on_is_left_alone(account, cores, s3, sweep_env):
    left, other = Left(cores, "issue_a", account, SMALL), Left(cores, "issue_b", account, SMALL)
    with left.worked_on():
        assert upload("--sweep", env=sweep_env)[0] == 0
    other.check_sent(s3.objects)
    assert not any("issue_a" in key for key in s3.objects)
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)


def test_a_bundle_that_goes_elsewhere_is_left_alone(account, cores, s3, sweep_env):
    """Two coreinits share the directory: neither sends, nor removes, what is the other's."""
    left = Left(cores, "issue_a", account, SMALL)
    refused = error(503, "SlowDown")
    s3.fail(refused)
    assert upload("--sweep", env=sweep_env)[0] == 75
    elsewhere = {**sweep_env, "S3_KEY_PREFIX": "other", "COREINIT_KEEP_LOCAL": "never",
                 "COREINIT_MAX_USE": "1"}
    assert upload("--sweep", env=elsewhere)[0] == 0
    assert not s3.objects and left.path(".core.zip").exists()
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)


@pytest.mark.parametrize("plant", [
    lambda left: left.journal.symlink_to("/etc/passwd"),
    lambda left: os.mkfifo(left.journal),
    lambda left: left.journal.mkdir(),
    lambda left: left.journal.write_bytes(b"\0" * 4096),
], ids=["symlink", "fifo", "directory", "garbage"])
def test_a_planted_journal_stops_no_other_bundle(account, cores, s3, sweep_env, plant):
    planted, left = Left(cores, "issue_a", account, SMALL), Left(cores, "issue_b", account, SMALL)
    plant(planted)
    status, log = upload("--sweep", env=sweep_env)
    assert status == 1
    assert [line for line in log.splitlines() if "issue_a" in line and "left alone" in line]
    left.check_sent(s3.objects)
    assert not any("issue_a" in key for key in s3.objects)


def test_a_planted_artifact_is_not_sent_but_all_else_is(account, cores, s3, sweep_env):
    secret = cores.parent / "secret"
    secret.write_text("secret")
    left, other = Left(cores, "issue_a", account, SMALL), Left(cores, "issue_b", account, SMALL)
    left.path(".libs.zip").unlink()
    left.path(".libs.zip").symlink_to(secret)
    status, log = upload("--sweep", env=sweep_env)
    assert status == 1 and "issue_a.libs.zip" in log
    other.check_sent(s3.objects)
    assert b"secret" not in s3.objects.values()
    assert s3.objects["issue/issue_a.core.zip"] == SMALL[".core.zip"]
    fate = json.loads(s3.objects["issue/issue_a.crash.json"])["artifacts"]["libs"]
    assert not fate["in_s3"] and fate["error"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"{\"version\": 1}", b"[" * 600000],
                         ids=["empty", "cut", "array", "null", "another", "huge"])
def test_a_crash_json_that_is_none_is_sent_as_it_is(account, cores, s3, sweep_env, text):
    left = Left(cores, "issue_a", account, SMALL)
    left.path(".crash.json").write_bytes(text)
    status, log = upload("--sweep", env=sweep_env)
    assert status == 0, log
    assert "can't be read" in log
    assert s3.objects["issue/issue_a.crash.json"] == text
    assert s3.objects["issue/issue_a.core.zip"] == SMALL[".core.zip"]


@pytest.mark.parametrize("refusal", [(403, "AccessDenied"), (404, "NoSuchBucket")])
def test_a_bucket_that_refuses_one_object_is_not_asked_for_the_next(account, cores, s3, sweep_env,
                                                                    refusal):
    left = [Left(cores, f"issue_{n}", account, SMALL) for n in range(3)]
    s3.fail(error(*refusal), times=1000)
    status, log = upload("--sweep", env=sweep_env)
    assert status == 75
    assert len(s3.requests) == 1
    assert refusal[1] in log and "3 bundles stay in" in log

    s3.faults.clear()
    assert upload("--sweep", env=sweep_env)[0] == 0
    for bundle in left:
        bundle.check_sent(s3.objects)


def test_without_a_network_all_stays_for_the_next_try(account, cores, s3, sweep_env):
    left = Left(cores, "issue_a", account, SMALL)
    status, log = upload("--sweep", env={**sweep_env, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    assert status == 75 and "1 bundle stays in" in log
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)


def test_what_a_collector_could_not_send_is_sent_by_the_next_sweep(run, without_gdb, s3):
    s3.fail(error(403, "AccessDenied"), times=1000)
    _, bundle = run.crash("--", CRASH, "segv", env={**s3.env, "PATH": without_gdb})
    fates = bundle.account["artifacts"].values()
    assert all(fate["error"].startswith("not sent: ") for fate in fates), fates
    s3.faults.clear()
    status, log = upload("--sweep", env={**s3.env, "COREINIT_CORES_DIR": run.cores})
    assert status == 0, log
    assert {key[len("issue/" + bundle.id):] for key in s3.objects} == SUFFIXES
    for suffix in SUFFIXES:
        assert s3.objects[f"issue/{bundle.id}{suffix}"] == bundle.path(suffix).read_bytes()
    for fate in json.loads(bundle.path(".crash.json").read_text())["artifacts"].values():
        assert fate["in_s3"] and fate["error"] is None


@pytest.mark.parametrize("keep", ["until-sent", "never"])
def test_what_is_not_to_be_kept_is_removed_once_all_was_sent(account, cores, s3, sweep_env, keep):
    left = Left(cores, "issue_a", account, SMALL)
    env = {**sweep_env, "COREINIT_KEEP_LOCAL": keep}
    s3.fail(error(503, "SlowDown"), action="PutObject", times=1)
    assert upload("--sweep", env=env)[0] == 75
    assert left.path(".core.zip").exists()
    assert upload("--sweep", env=env)[0] == 0
    account = left.check_sent(s3.objects)
    assert not any(fate["in_cores_dir"] for fate in account["artifacts"].values())
    assert not list(cores.iterdir())


def test_what_the_bucket_lets_nobody_compare_stays(account, cores, s3, sweep_env):
    left = Left(cores, "issue_a", account, SMALL)
    env = {**sweep_env, "COREINIT_KEEP_LOCAL": "until-sent", "S3_CHECKSUM": "md5",
           "S3_SSE": "aws:kms"}  # ETags are no MD5s then
    s3.fail(answer(403), action="HeadObject", times=100)
    status, log = upload("--sweep", env=env)
    assert status == 0 and "issue_a stays in" in log
    told = left.check_sent(s3.objects)
    assert all(fate["in_cores_dir"] for fate in told["artifacts"].values())
    assert all(left.path(suffix).exists() for suffix in SUFFIXES)

    n_requests = len(s3.requests)
    assert upload("--sweep", env=env) == (0, "")
    assert len(s3.requests) == n_requests
    log = upload("--sweep", env={**env, "COREINIT_MAX_USE": "1"})[1]
    assert all(left.path(suffix).exists() for suffix in SUFFIXES)  # the newest
    Left(cores, "issue_b", account, SMALL)
    log = upload("--sweep", env={**env, "COREINIT_MAX_USE": "1"})[1]
    assert "issue_a was not verified in the bucket, and is removed all the same" in log


def test_an_upload_that_can_not_be_asked_for_now_is_gone_on_with_later(account, cores, s3,
                                                                       sweep_env):
    left = Left(cores, "issue_a", account, LARGE)
    s3.fail(lambda handler: False, action="UploadPart")
    s3.fail(error(503, "SlowDown"), action="UploadPart")
    assert upload("--sweep", env=sweep_env)[0] == 75
    s3.fail(error(503, "SlowDown"), action="ListParts")
    assert upload("--sweep", env=sweep_env)[0] == 75
    s3.requests.clear()
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)
    assert s3.actions.count("UploadPart") == N_PARTS - 1 and not s3.aborted


@pytest.mark.parametrize("is_there", [True, False])
def test_an_object_that_was_put_together_before_the_kill_is_not_sent_again(account, cores, s3,
                                                                           sweep_env, is_there):
    left = Left(cores, "issue_a", account, LARGE)
    s3.fail(lose_reply, action="CompleteMultipartUpload")
    s3.fail(answer(403), action="HeadObject")
    assert upload("--sweep", env=sweep_env)[0] == 75
    assert not s3.uploads
    if not is_there:
        s3.objects["issue/issue_a.core.zip"] = b"something else"
    s3.requests.clear()
    status, log = upload("--sweep", env=sweep_env)
    assert status == 0, log
    left.check_sent(s3.objects)
    assert s3.actions.count("UploadPart") == (0 if is_there else N_PARTS)
    assert not s3.uploads


def test_the_oldest_go_where_there_is_too_much(account, cores, s3, sweep_env):
    left = [Left(cores, f"issue_{n}", account, SMALL) for n in range(3)]
    for n, bundle in enumerate(left):
        for suffix in bundle.files:
            os.utime(bundle.path(suffix), (1000 + n, 1000 + n))
    # Sent before: the account is written anew then.
    assert upload("--sweep", env=sweep_env)[0] == 0
    assert upload("--sweep", env={**sweep_env, "COREINIT_MAX_FILES": "5"})[0] == 0
    assert len([path for path in cores.iterdir() if path.name[0] != "."]) == len(SUFFIXES)
    for bundle in left:
        bundle.check_sent(s3.objects)


def test_a_bundle_that_nobody_ended_has_what_is_whole(account, cores, s3, sweep_env):
    left = Left(cores, "issue_a", account,
                {suffix: SMALL[suffix] for suffix in (".stacktrace", ".executable")}, whole=False)
    (cores / "issue_a.core.zip.part").write_bytes(b"PK half")
    left.journal.write_text("coreinit journal 1\n")
    left.journal.chmod(0o600)
    status, log = upload("--sweep", env=sweep_env)
    assert status == 0, log
    account = left.check_sent(s3.objects)
    assert "killed" in account["artifacts"]["core"]["error"]
    assert not list(cores.glob("*.part"))
    assert left.path(".crash.json").exists()


def test_a_bundle_of_which_nothing_is_whole_is_told(account, cores, s3, sweep_env):
    left = Left(cores, "issue_a", account, {}, whole=False)
    left.journal.write_text("coreinit journal 1\n")
    left.journal.chmod(0o600)
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)


@pytest.fixture
def raw(crash, account, cores, tmp_path):
    """A bundle of whose collector nothing is left but the journal; it names the kernel's core."""
    left = Left(cores, "issue_a", account, {}, whole=False)
    subprocess.run(["unzip", "-q", *crash.glob("*.core.zip"), "-d", tmp_path / "raw"], check=True)
    core = tmp_path / "raw/core"
    os.utime(core, (1795253425, 1795253425))
    left.journal.write_text("coreinit journal 1\ncrash 4711 1795253425.123456789 12.345678901\n"
                            f"core {core}\n")
    left.journal.chmod(0o600)
    left.core = core
    return left


def check_collected(raw, core, s3):
    """The bundle is whole, here and in the bucket, and its core is that one."""
    names = {key[len("issue/issue_a"):]: data for key, data in s3.objects.items()}
    account = json.loads(names[".crash.json"])
    jsonschema.validate(account, SCHEMA)
    assert account["complete"] and account["signal"]["name"] == "SIGSEGV"
    assert all(fate["in_s3"] for fate in account["artifacts"].values()), account["artifacts"]
    assert set(names) == SUFFIXES
    assert b"crash_here" in names[".stacktrace"]
    for suffix, data in names.items():
        assert raw.path(suffix).read_bytes() == data
    with zipfile.ZipFile(raw.path(".core.zip")) as archive:
        assert archive.read("core") == core
    assert not s3.uploads and not list(raw.directory.glob("*.part"))


@pytest.mark.parametrize("stays", [False, True], ids=["sure", "unsure"])
def test_a_core_that_a_killed_collector_left_is_collected_again(raw, s3, sweep_env, without_gdb,
                                                                stays):
    """Where it may be another crash's, it is left where it is, as that collector would have."""
    core = raw.core.read_bytes()
    if stays:
        with open(raw.journal, "a") as journal:
            journal.write("core-stays\n")
    status, log = upload("--sweep", env={**sweep_env, "PATH": without_gdb})
    assert status == 0, log
    check_collected(raw, core, s3)
    assert raw.core.exists() == stays


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_collecting_again_can_be_killed_too(raw, s3, sweep_env, without_gdb, number):
    core = raw.core.read_bytes()
    env = {**sweep_env, "PATH": without_gdb}
    sweep = Upload("--sweep", env=env)
    s3.fail(**at(("PutObject", number, "arrives"), sweep.kill))
    assert sweep.start().finish()[0] != 0
    status, log = upload("--sweep", env=env)
    assert status == 0, log
    check_collected(raw, core, s3)


def test_a_core_that_kills_its_collector_keeps_nothing_else_back(raw, account, cores, s3,
                                                                 sweep_env):
    """What is complete is sent first."""
    left = Left(cores, "issue_z", account, SMALL)
    raw.core.write_bytes(raw.core.read_bytes()[:100])
    os.utime(raw.core, (1795253425, 1795253425))
    assert upload("--sweep", env=sweep_env)[0] == 0
    left.check_sent(s3.objects)
    assert [request.path.split("/")[-1] for request in s3.requests][:4] == [
        "issue_z" + suffix for suffix in (".stacktrace", ".core.zip", ".executable", ".libs.zip")]


def sweeper_of(s3):
    """The sweeper that sends there."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if (arguments[1:3] == [b"upload", b"--sweep"]
                    and s3.url.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes()):
                return int(pid)
        except OSError:
            pass
    raise AssertionError("there is no sweeper")


def test_the_next_start_sends_in_the_background_what_the_last_one_could_not(run, account, s3):
    run.cores.mkdir()
    left = Left(run.cores, "issue_a", account, SMALL)
    priorities = []

    def look(handler):
        sweeper = sweeper_of(s3)
        adjustment = pathlib.Path(f"/proc/{sweeper}/oom_score_adj").read_text()
        priorities.append((os.getpriority(os.PRIO_PROCESS, sweeper), adjustment.strip()))
        return False

    s3.fail(look)
    init = run.start("--", "sleep", "300", env=s3.env, pid1=False)
    deadline = time.monotonic() + 60
    while len(s3.objects) < len(SUFFIXES) and time.monotonic() < deadline:
        time.sleep(0.05)
    init.terminate()
    _, err = init.communicate(timeout=60)
    left.check_sent(s3.objects)
    assert priorities == [(10, "1000")], err


# Moments of a sweep: the request at which it happens (its action, and which one of these), and
# whether that is before it is read, before it counts, or before it is answered.
MOMENTS = [("PutObject", 1, "arrives"), ("PutObject", 1, "is done"),
           ("CreateMultipartUpload", 1, "arrives"), ("UploadPart", 1, "arrives"),
           ("UploadPart", 2, "is read"), ("UploadPart", 2, "is done"),
           ("UploadPart", N_PARTS, "is done"), ("CompleteMultipartUpload", 1, "arrives"),
           ("CompleteMultipartUpload", 1, "is done"), ("PutObject", 2, "is read"),
           ("PutObject", 4, "arrives"), ("PutObject", 4, "is done")]


def wait_until_hung_up(handler):
    handler.connection.settimeout(60)
    with contextlib.suppress(ConnectionError):
        while handler.connection.recv(65536):
            pass


def at(moment, what, then=lambda handler: None):
    """A fault that calls @what at a moment, and answers nothing: it does @then, and hangs up."""
    action, number, stage = moment
    seen = 0

    def do(handler):
        nonlocal seen
        seen += 1
        if seen != number:
            return False
        if stage == "is read":
            handler.read_body()
        elif stage == "is done":
            handler.s3.handle(handler, handler.request_line)
        what()
        then(handler)
        handler.close_connection = True
        return True

    return {"do": do, "action": action, "times": number}


def check_gone_on_with(left, s3, n_before, moment):
    """The next sweep sent what was missing, and nothing twice as two objects."""
    left.check_sent(s3.objects)
    assert len(s3.objects) == len(left.files)
    assert len(s3.uploads) <= (moment[0] == "CreateMultipartUpload")
    # What had its answer isn't sent again.
    answered = [request.target for request in s3.requests[:n_before]
                if request.status == 200 and request.action == "UploadPart"]
    again = [request.target for request in s3.requests[n_before:]]
    assert not set(answered) & set(again)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_sweep_killed_at_any_moment_is_gone_on_with(account, cores, s3, sweep_env, moment):
    left = Left(cores, "issue_a", account, LARGE)
    sweep = Upload("--sweep", env=sweep_env)
    s3.fail(**at(moment, sweep.kill))
    assert sweep.start().finish()[0] != 0
    n_before = len(s3.requests)
    assert upload("--sweep", env=sweep_env)[0] == 0
    check_gone_on_with(left, s3, n_before, moment)


@pytest.mark.parametrize("moment, signo", zip(MOMENTS[::2], 3 * [signal.SIGTERM, signal.SIGINT]))
def test_a_sweep_that_is_asked_to_end_does_so_and_is_gone_on_with(account, cores, s3, sweep_env,
                                                                  moment, signo):
    left = Left(cores, "issue_a", account, LARGE)
    sweep = Upload("--sweep", env={**sweep_env, "AWS_MAX_ATTEMPTS": "8"})

    s3.fail(**at(moment, lambda: sweep.send(signo), wait_until_hung_up))
    status, log = sweep.start().finish()
    assert status == 75 and "stays in" in log
    n_before = len(s3.requests)
    assert upload("--sweep", env=sweep_env)[0] == 0
    check_gone_on_with(left, s3, n_before, moment)
