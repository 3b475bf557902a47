"""Sending to S3, through the store layer's driver s3put."""

import dataclasses
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, SANITIZED
from s3_server import (BUCKET, S3rver, StrictS3, answer, blackhole, error, reset, stall,
                       why_no_s3rver)

S3PUT = BUILD / "tests/s3put"
MIB = 1 << 20
PREFIX = "team-a/fluent-bit"
SOME_KEY = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "not-printed"}


def some_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


@dataclasses.dataclass
class Result:
    status: int
    verdict: str  # "sent" or "failed", of s3put's last line
    rest: str
    log: str

    @property
    def sent(self):
        return self.status == 0 and self.verdict == "sent"


class Put:
    """Runs s3put in an environment of its own, and holds that no secret was ever printed."""

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.program = S3PUT

    def environment(self, env):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "S3_KEY_PREFIX": PREFIX, **env}
        return {name: value for name, value in env.items() if value is not None}

    def run(self, env, *arguments, stdin=None):
        env = self.environment(env)
        self.process = subprocess.Popen([self.program, *arguments], env=env, text=True,
                                        stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        return self.finish(self.process, env)

    def finish(self, process, env):
        out, log = process.communicate(timeout=120)
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            assert not env.get(name) or env[name] not in out + log
        verdict, _, rest = (out.splitlines() or [""])[-1].partition(" ")
        return Result(process.returncode, verdict, rest, log)

    def bytes(self, env, name, content):
        path = self.tmp_path / "content"
        path.write_bytes(content)
        return self.file(env, name, path)

    def file(self, env, name, path):
        return self.run(env, "put", name, str(path))

    def stream(self, env, name, content):
        path = self.tmp_path / "content"
        path.write_bytes(content)
        with path.open("rb") as stdin:
            return self.run(env, "stream", name, stdin=stdin)


@pytest.fixture
def put(tmp_path):
    yield Put(tmp_path)
    (tmp_path / "content").unlink(missing_ok=True)  # pytest keeps its directories


@pytest.fixture(scope="module")
def s3rver(tmp_path_factory):
    reason = why_no_s3rver()
    if reason:
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with S3rver(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def strict(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


# A whole S3 server, read back with boto3.


@pytest.mark.parametrize("size", [0, 1, 100_000, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_a_file_arrives_byte_for_byte(s3rver, put, size):
    content = some_bytes(size)
    result = put.bytes(s3rver.env, f"file-{size}", content)
    assert result.sent
    assert result.rest == f"{size} {hashlib.sha256(content).hexdigest()}"
    assert s3rver.read(f"{PREFIX}/file-{size}") == content


@pytest.mark.parametrize("size", [0, 1, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_a_stream_arrives_byte_for_byte(s3rver, put, size):
    content = some_bytes(size)
    result = put.stream(s3rver.env, f"stream-{size}", content)
    assert result.sent
    assert result.rest == f"{size} {hashlib.sha256(content).hexdigest()}"
    assert s3rver.read(f"{PREFIX}/stream-{size}") == content


NAMES = ["with space", "a+b", "ünïcode-€-𝄞", "x~y*z", "100%25", "q'\"(u)!&$@=;:,<>", "#?a=b&c",
         "back\\slash", "[{^`|}]"]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_arrives_as_written(s3rver, put, name):
    env = {**s3rver.env, "S3_KEY_PREFIX": f"/keys/{name}/"}
    assert put.bytes(env, name, name.encode()).sent
    assert s3rver.read(f"keys/{name}/{name}") == name.encode()


def test_without_a_prefix_the_key_is_the_name(s3rver, put):
    assert put.bytes({**s3rver.env, "S3_KEY_PREFIX": ""}, "bare", b"x").sent
    assert s3rver.read("bare") == b"x"


def test_a_wrong_secret_is_refused(s3rver, put):
    result = put.bytes({**s3rver.env, "AWS_SECRET_ACCESS_KEY": "wrong"}, "refused", b"x")
    assert result.status == 1 and result.rest.startswith("EACCES SignatureDoesNotMatch (403): ")
    assert result.log.count("coreinit: error:") == 1
    assert "cannot send refused to s3://crashes/team-a/fluent-bit: SignatureDoesNotMatch (403): " \
        in result.log
    assert "check the secret access key" in result.log
    assert f"{PREFIX}/refused" not in s3rver.keys()


def test_a_missing_bucket_is_named(s3rver, put):
    result = put.bytes({**s3rver.env, "S3_BUCKET": "elsewhere"}, "x", b"x")
    assert result.rest.startswith("ENOENT NoSuchBucket (404): ")
    assert "s3://elsewhere/team-a/fluent-bit" in result.log and "S3_BUCKET" in result.log


# The strict server: everything that Amazon S3 checks, signatures recomputed by botocore.


@pytest.mark.parametrize("name", [*NAMES, "..a/b.", "a//b", "tab\there"])
def test_every_key_is_signed_in_canonical_form(strict, put, name):
    assert put.bytes({**strict.env, "S3_KEY_PREFIX": f"p {name}"}, name, b"x").sent
    assert strict.objects == {f"p {name}/{name}": b"x"}


def test_the_strict_server_is_strict(strict, put):
    def code(**env):
        return put.bytes({**strict.env, **env}, "x", b"x").rest.split()[1]

    assert code(AWS_SECRET_ACCESS_KEY="wrong") == "SignatureDoesNotMatch"
    assert code(AWS_ACCESS_KEY_ID="wrong") == "InvalidAccessKeyId"
    assert code(AWS_REGION="eu-west-1") == "AuthorizationHeaderMalformed"
    assert code(AWS_SESSION_TOKEN="unexpected") == "InvalidToken"
    assert not strict.objects


def test_a_large_file_is_sent_in_parts(strict, put):
    content = some_bytes(33 * MIB)
    assert put.bytes(strict.env, "large", content).sent
    assert strict.objects[f"{PREFIX}/large"] == content
    assert strict.actions == ["CreateMultipartUpload", *["UploadPart"] * 3,
                              "CompleteMultipartUpload"]


def test_a_stream_that_fits_one_part_is_a_single_request(strict, put):
    assert put.stream(strict.env, "small", some_bytes(8 * MIB)).sent
    assert strict.actions == ["PutObject"]


def test_a_stream_is_sent_in_parts_of_8_mib(strict, put):
    content = some_bytes(16 * MIB)
    assert put.stream(strict.env, "stream", content).sent
    assert strict.objects[f"{PREFIX}/stream"] == content
    assert strict.actions == ["CreateMultipartUpload", *["UploadPart"] * 2,
                              "CompleteMultipartUpload"]


@pytest.mark.skipif(SANITIZED, reason="the sanitizers need memory of their own")
@pytest.mark.parametrize("how", ["put", "stream"])
def test_memory_is_bounded(strict, put, tmp_path, how):
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(200 * MIB)
    peaks = []

    def look(_):
        status = pathlib.Path(f"/proc/{put.process.pid}/status").read_text()
        peaks.append(int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]))
        return False

    strict.fail(look, action="CompleteMultipartUpload")
    with path.open("rb") as stdin:
        assert put.run(strict.env, how, "big", str(path), stdin=stdin).sent
    assert len(strict.objects[f"{PREFIX}/big"]) == 200 * MIB
    assert len(peaks) == 1 and peaks[0] < 24 * 1024


def test_one_connection_serves_all_requests(strict, put):
    connections = []
    accept = strict.server.get_request
    strict.server.get_request = lambda: connections.append(1) or accept()
    assert put.bytes(strict.env, "large", some_bytes(33 * MIB)).sent
    assert len(connections) == 1


def test_a_connection_that_died_while_idle_is_replaced(strict, put):
    strict.closes_silently = True
    content = some_bytes(33 * MIB)
    assert put.bytes(strict.env, "large", content).sent
    assert strict.objects[f"{PREFIX}/large"] == content


# Credentials.


def test_a_session_token_is_sent_and_signed(tmp_path, put):
    with StrictS3(tmp_path, token="t/+=" + "T" * 1500) as strict:
        assert put.bytes(strict.env, "x", b"x").sent
        assert "those of the environment" in put.bytes(strict.env, "x", b"x").log
        result = put.bytes({**strict.env, "AWS_SESSION_TOKEN": None}, "x", b"x")
        assert result.rest.startswith("EACCES InvalidToken (400)")


def test_a_profile_with_a_long_token_is_read(tmp_path, put):
    with StrictS3(tmp_path, token="t/+=" + "T" * 4000) as strict:
        aws = put.home / ".aws"
        aws.mkdir()
        (aws / "credentials").write_text(
            "[default]\naws_access_key_id = no\naws_secret_access_key = no\n\n[crash sender]\n"
            f"aws_access_key_id = {strict.access_key_id}\n"
            f"aws_secret_access_key={strict.secret_access_key}\n"
            f"aws_session_token = {strict.token}\n")
        (aws / "config").write_text(f"[profile crash sender]\nregion = {strict.region}\n")
        env = {"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL": strict.url, "AWS_PROFILE": "crash sender"}
        result = put.bytes(env, "x", b"x")
        assert result.sent
        assert f"profile crash sender of {aws}/credentials" in result.log
        assert strict.token not in result.log and strict.secret_access_key not in result.log


def test_without_credentials_it_says_where_it_looked(strict, put):
    env = {"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": strict.url}
    result = put.bytes(env, "x", b"x")
    assert result.status == 2
    assert "AWS_ACCESS_KEY_ID is not set" in result.log
    assert f"{put.home}/.aws/credentials (No such file or directory)" in result.log
    result = put.bytes({**env, "HOME": None}, "x", b"x")
    assert result.status == 2 and "HOME is not set" in result.log


def test_aws_needs_a_region(put):
    result = put.bytes({"S3_BUCKET": BUCKET, **SOME_KEY}, "x", b"x")
    assert result.status == 2 and "set AWS_REGION" in result.log


# TLS, Amazon's host names, proxies.


def test_https_is_verified(tmp_path, put):
    with StrictS3(tmp_path, tls=["127.0.0.1"]) as strict:
        strict.speak_tls()
        assert put.bytes(strict.env, "x", b"x").sent
        result = put.bytes({**strict.env, "AWS_CA_BUNDLE": None}, "x", b"x")
        assert result.rest.startswith("EPROTO ") and "AWS_CA_BUNDLE" in result.log
        result = put.bytes({**strict.env, "AWS_CA_BUNDLE": None,
                            "SSL_CERT_FILE": str(strict.authority.file)}, "x", b"x")
        assert result.sent


def test_a_certificate_for_another_host_is_refused(tmp_path, put):
    with StrictS3(tmp_path, tls=["elsewhere.example"]) as strict:
        strict.speak_tls()
        assert put.bytes(strict.env, "x", b"x").rest.startswith("EPROTO ")
        assert not strict.requests


def test_the_packaged_authorities_are_those_beside_the_program(tmp_path, put):
    with StrictS3(tmp_path, tls=["127.0.0.1"]) as strict:
        strict.speak_tls()
        (tmp_path / "opt/bin").mkdir(parents=True)
        (tmp_path / "opt/etc").mkdir()
        shutil.copy(S3PUT, tmp_path / "opt/bin")
        shutil.copy(strict.authority.file, tmp_path / "opt/etc/ca-certificates.crt")
        put.program = tmp_path / "opt/bin/s3put"
        assert put.bytes({**strict.env, "AWS_CA_BUNDLE": None}, "x", b"x").sent


@pytest.mark.parametrize("bucket, region, host, path", [
    ("crashes", "eu-west-1", "crashes.s3.eu-west-1.amazonaws.com", "/team-a/fluent-bit/x"),
    ("my.crashes", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/my.crashes/team-a/fluent-bit/x"),
])
def test_aws_is_addressed_by_its_own_host_names_through_a_proxy(tmp_path, put, bucket, region,
                                                                host, path):
    with StrictS3(tmp_path, bucket=bucket, region=region,
                  tls=["*.s3.eu-west-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"]) as strict:
        result = put.bytes(strict.proxy_env, "x", b"x")
        assert result.sent
        assert strict.tunnels == [f"{host}:443"]
        assert [(r.host, r.path) for r in strict.requests] == [(host, path)]
        assert strict.objects == {f"{PREFIX}/x": b"x"}


def test_china_has_a_domain_of_its_own(tmp_path, put):
    with StrictS3(tmp_path, region="cn-north-1", tls=["127.0.0.1"]) as strict:
        put.bytes(strict.proxy_env, "x", b"x")
        assert strict.tunnels[0] == "crashes.s3.cn-north-1.amazonaws.com.cn:443"


def test_a_plain_http_endpoint_goes_through_http_proxy(strict, put):
    env = {**strict.env, "AWS_ENDPOINT_URL_S3": "http://minio.example:9000",
           "http_proxy": strict.url}
    content = some_bytes(20 * MIB)
    assert put.stream(env, "a b+é", content).sent
    assert all(r.proxied and r.host == "minio.example:9000" for r in strict.requests)
    assert strict.objects == {f"{PREFIX}/a b+é": content}


def test_no_proxy_is_honoured(strict, put):
    env = {**strict.env, "http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    assert put.bytes(env, "x", b"x").sent


# What goes wrong.


@pytest.mark.parametrize("status, code, more, errno, mend", [
    (403, "AccessDenied", {}, "EACCES", "s3:PutObject"),
    (400, "ExpiredToken", {}, "EACCES", "renew"),
    (403, "RequestTimeTooSkewed", {}, "EACCES", "clock"),
    (403, "InvalidAccessKeyId", {}, "EACCES", "session token"),
    (301, "PermanentRedirect", {}, "EINVAL", "set AWS_REGION to the bucket's"),
    (400, "AuthorizationHeaderMalformed", {"Region": "ap-south-1"}, "EINVAL",
     "set AWS_REGION to ap-south-1"),
    (400, "NobodyKnowsThis", {}, "EIO", ""),
])
def test_a_refusal_is_told_once_with_its_mend(strict, put, status, code, more, errno, mend):
    strict.fail(error(status, code, "The\nreason.", **more))
    result = put.bytes(strict.env, "x", b"x" * 3 * MIB)
    assert result.status == 1 and result.rest.startswith(f"{errno} {code} ({status}): The reason")
    assert mend in result.rest
    assert [line for line in result.log.splitlines() if ": error: " in line] == [
        f"coreinit: error: cannot send x to s3://{BUCKET}/{PREFIX}: "
        + result.rest.removeprefix(errno + " ")]
    assert len(strict.requests) == 1


def test_the_region_may_be_told_by_a_header(strict, put):
    strict.fail(answer(301, b"", {"x-amz-bucket-region": "sa-east-1"}))
    assert "set AWS_REGION to sa-east-1" in put.bytes(strict.env, "x", b"x").rest


def test_a_refusal_before_the_body_stops_the_upload(strict, put):
    strict.fail(lambda handler: handler.answer(403, b"<Error><Code>AccessDenied</Code></Error>")
                or True)
    result = put.bytes(strict.env, "x", some_bytes(16 * MIB))
    assert result.rest.startswith("EACCES AccessDenied (403)")
    assert len(strict.requests) == 1


@pytest.mark.parametrize("fault", [
    error(503, "SlowDown", "Please reduce your request rate."), error(500, "InternalError"),
    error(400, "RequestTimeout"), answer(502, b"<html>bad gateway</html>"), answer(429), reset(),
    reset(100_000),
], ids=["SlowDown", "InternalError", "RequestTimeout", "502", "429", "reset", "reset mid-body"])
def test_what_may_pass_is_tried_again(strict, put, fault):
    content = some_bytes(5 * MIB)
    strict.fail(fault, times=2)
    result = put.bytes(strict.env, "x", content)
    assert result.sent and strict.objects[f"{PREFIX}/x"] == content
    assert len(strict.requests) == 3
    assert result.log.count("trying again") == 2 and ": error: " not in result.log


def test_after_three_attempts_it_gives_up(strict, put):
    strict.fail(error(503, "SlowDown", "Please reduce your request rate."), times=100)
    result = put.bytes(strict.env, "x", b"x")
    assert result.rest == "EIO SlowDown (503): Please reduce your request rate."
    assert len(strict.requests) == 3


def test_a_server_that_is_not_there(put):
    listener, _ = blackhole()
    port = listener.getsockname()[1]
    listener.close()
    result = put.bytes({"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
                        **SOME_KEY}, "x", b"x")
    assert result.rest.startswith("ECONNREFUSED ")


def test_a_host_name_that_is_not_there(put):
    """One that is too long for DNS: no resolver has to be asked."""
    result = put.bytes({"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": f"http://{'n' * 64}.invalid",
                        **SOME_KEY}, "x", b"x")
    assert result.rest.startswith("EHOSTUNREACH ")


@pytest.mark.parametrize("how", ["bytes", "stream"])
def test_an_upload_whose_part_fails_is_aborted(strict, put, how):
    strict.fail(lambda handler: False, action="UploadPart")
    strict.fail(error(403, "AccessDenied", "Access Denied"), action="UploadPart")
    result = getattr(put, how)(strict.env, "x", some_bytes(33 * MIB))
    assert result.rest.startswith("EACCES AccessDenied")
    assert strict.actions[-1] == "AbortMultipartUpload" and not strict.uploads
    assert result.log.count(": error: ") == 1


def test_an_upload_that_can_not_be_aborted_is_told(strict, put):
    strict.fail(error(403, "AccessDenied", "the part"), action="UploadPart")
    strict.fail(error(403, "AccessDenied", "the abort"), action="AbortMultipartUpload")
    result = put.bytes(strict.env, "x", some_bytes(17 * MIB))
    assert "the part" in result.rest
    assert "coreinit: warning: parts of x stay in s3://crashes/team-a/fluent-bit" in result.log
    assert "the abort" in result.log


def test_a_part_that_is_cut_off_is_sent_again(strict, put):
    content = some_bytes(33 * MIB)
    strict.fail(reset(3 * MIB), action="UploadPart", times=2)
    assert put.bytes(strict.env, "x", content).sent
    assert strict.objects[f"{PREFIX}/x"] == content


def test_an_error_behind_completes_200_is_one(strict, put):
    content = some_bytes(17 * MIB)
    strict.fail(error(200, "InvalidPart", "One or more parts could not be found."),
                action="CompleteMultipartUpload")
    result = put.bytes(strict.env, "x", content)
    assert result.rest.startswith("EIO InvalidPart (200): One or more")
    assert strict.aborted == [f"{PREFIX}/x"] and not strict.objects


def test_an_internal_error_behind_completes_200_is_tried_again(strict, put):
    content = some_bytes(17 * MIB)
    strict.padding = b" \r\n" * 300
    strict.fail(error(200, "InternalError", "Please try again."), action="CompleteMultipartUpload")
    assert put.bytes(strict.env, "x", content).sent
    assert strict.objects[f"{PREFIX}/x"] == content


BOMB = (b'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        b"<InitiateMultipartUploadResult><UploadId>&b;</UploadId></InitiateMultipartUploadResult>")


@pytest.mark.parametrize("body", [
    b"", b"<html>hello</html>", b"not XML", BOMB, b"x" * 2 * MIB, b"<a>" * 1000,
    b"<InitiateMultipartUploadResult/>",
    b"<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>"
    % (b"i" * 2000),
], ids=["empty", "html", "text", "entities", "huge", "deep", "no id", "long id"])
def test_a_reply_that_is_not_s3s_is_refused(strict, put, body):
    strict.fail(answer(200, body), action="CreateMultipartUpload", times=100)
    result = put.bytes(strict.env, "x", some_bytes(17 * MIB))
    assert result.rest.startswith("EPROTO ") and "S3" in result.rest
    assert len(strict.requests) == 1


def test_a_server_that_takes_anything_is_no_s3_server(strict, put):
    strict.fail(answer(200))
    result = put.bytes(strict.env, "x", b"x")
    assert result.rest.startswith("EPROTO ") and not strict.objects


def test_a_file_that_shrinks_while_it_is_sent_is_told(strict, put, tmp_path):
    def shrink(handler):
        os.truncate(tmp_path / "content", 1000)
        return False

    strict.fail(shrink)
    result = put.bytes(strict.env, "x", some_bytes(16 * MIB))
    assert result.rest == "ENODATA the file became shorter while it was sent"
    assert not strict.objects


def test_a_file_that_changes_while_it_is_sent_is_not_taken(strict, put, tmp_path):
    def change(handler):
        with (tmp_path / "content").open("r+b") as file:
            file.seek(15 * MIB)
            file.write(b"something else")
        return False

    strict.fail(change)
    result = put.bytes(strict.env, "x", some_bytes(16 * MIB))
    assert result.rest.startswith("EIO XAmzContentSHA256Mismatch (400)")
    assert not strict.objects


@pytest.mark.parametrize("setting, value", [
    ("S3_BUCKET", "s3://crashes"), ("S3_BUCKET", "crashes/path"), ("S3_BUCKET", ""),
    ("S3_KEY_PREFIX", "a/../b"), ("S3_KEY_PREFIX", "./a"),
    ("AWS_REGION", "eu west"), ("AWS_ENDPOINT_URL_S3", "127.0.0.1:9000"),
    ("AWS_ENDPOINT_URL_S3", "http://user:secret@127.0.0.1"),
    ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1/?x"), ("AWS_ENDPOINT_URL_S3", "file:///etc/passwd"),
    ("AWS_SECRET_ACCESS_KEY", "abcdef\n"), ("AWS_ACCESS_KEY_ID", "a b"),
    ("AWS_SESSION_TOKEN", "x\r\nHost: elsewhere"),
])
def test_a_malformed_setting_is_refused_by_name(strict, put, setting, value):
    result = put.bytes({**strict.env, setting: value}, "x", b"x")
    assert result.status == 2 and setting in result.log
    assert result.log.count("coreinit: error:") == 1
    assert not strict.requests


def test_a_key_longer_than_s3s_is_refused(strict, put):
    env = {**strict.env, "S3_KEY_PREFIX": "k" * 1000}
    assert put.bytes(env, "n" * 23, b"x").sent
    assert put.bytes(env, "n" * 24, b"x").rest.startswith("ENAMETOOLONG ")


def test_servers_that_do_not_answer_are_given_up(strict, put, tmp_path):
    """Both at once, since both only wait: 30 s of silence, then again; 3 x 10 s to connect."""
    content = tmp_path / "content"
    content.write_bytes(b"x")
    listener, fillers = blackhole()
    silent = put.environment(strict.env)
    deaf = {**silent, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    strict.fail(stall(120))
    processes = [subprocess.Popen([S3PUT, "put", "x", content], env=env, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                 for env in (silent, deaf)]
    to_silent, to_deaf = (put.finish(process, silent) for process in processes)
    assert to_silent.sent and "trying again" in to_silent.log
    assert to_deaf.rest.startswith("ETIMEDOUT ")
    for each in (listener, *fillers):
        each.close()
