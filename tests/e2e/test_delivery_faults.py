"""What goes wrong on the way to S3 (test_s3_faults.py has the store's part of it) costs no core: after
each fault it is in S3, or whole on the disk and sent by the next start; once, and as one object."""

import concurrent.futures
import contextlib

import pytest

from conftest import CRASH, Runner
from s3_server import StrictS3, error, reset
from test_delivery import MIB, check_core, check_sent, sweep

SIZE = 9 * MIB  # two parts
AMAZON = ["*.s3.us-east-1.amazonaws.com", "*.s3.eu-west-1.amazonaws.com"]


def bursts(s3):
    for action in ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"):
        s3.fail(error(500, "InternalError"), action)
        s3.fail(error(503, "SlowDown"), action)


def cut_parts(s3):
    s3.fail(reset(MIB), "UploadPart", times=2)


def moved(s3):
    env = s3.proxy_env
    env["AWS_REGION"] = "us-east-1"
    return env


def expired(s3):
    def expire(handler):
        s3.expired = {s3.token}
        return False

    s3.fail(expire, "UploadPart")


def renewed(s3):
    s3.token = "second"


def late(s3):
    s3.clock = 7200


def nameless(s3):
    return {**s3.env, "AWS_ENDPOINT_URL_S3": f"http://{'n' * 64}.invalid", "S3_ALLOW_HTTP": "yes"}


def distrusted(s3):
    s3.speak_tls()
    return {key: value for key, value in s3.env.items() if key != "AWS_CA_BUNDLE"}


def refused(s3):
    s3.fail(error(403, "AccessDenied", "Access Denied"), times=1000)


def nowhere(s3):
    s3.fail(error(404, "NoSuchBucket", "The specified bucket does not exist"), times=1000)


def lied_to(s3):
    s3.lies = dict.fromkeys(("PutObject", "UploadPart"), 1000)


def mended(s3):
    s3.faults.clear()
    s3.lies = {}


# What happens, what mends it (None: nothing has to), and what the server is like.
FAULTS = {
    "bursts of 500 and 503": (bursts, None, {}),
    "reset mid-part": (cut_parts, None, {}),
    "another region": (moved, None, {"region": "eu-west-1", "tls": AMAZON}),
    "expired token": (expired, renewed, {"token": "first"}),
    "skewed clock": (late, None, {}),
    "DNS failure": (nameless, mended, {}),
    "bad certificate": (distrusted, mended, {"tls": ["127.0.0.1"]}),
    "403": (refused, mended, {}),
    "missing bucket": (nowhere, mended, {}),
    "wrong checksum": (lied_to, mended, {}),
}


def live(directory, path, name):
    """One crash, and the next start."""
    happen, mend, server = FAULTS[name]
    directory.mkdir()
    run = Runner(directory)
    with StrictS3(directory, **server) as s3:
        env = {**(happen(s3) or s3.env), "AWS_MAX_ATTEMPTS": "4", "PATH": path, "COREINIT_KEEP_LOCAL": "until-sent"}
        result = run("--capture", "ptrace", "--", CRASH, "big-noise", SIZE, env=env)
        assert result.returncode == 139, result.stderr
        if mend:
            assert "not all of the crash of pid" in result.stderr, result.stderr
            core, = run.cores.glob("*.core.zip")
            check_core(core.read_bytes(), SIZE)
            mend(s3)
            status, log = sweep({**env, **s3.env}, run.cores)
            assert status == 0, result.stderr + log
        check_sent(s3, SIZE)
        assert not list(run.cores.iterdir()), "nothing is to stay that is in S3"


def test_after_each_fault_the_core_is_in_s3_once_at_the_latest_by_the_next_start(tmp_path, without_gdb):
    failures = []
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(4))
        lives = {name: pool.submit(live, tmp_path / str(i), without_gdb, name) for i, name in enumerate(FAULTS)}
        for name, future in lives.items():
            try:
                future.result()
            except Exception as failure:
                failures.append(f"{name}: {failure!r}")
    if failures:
        pytest.fail("\n".join(failures))
