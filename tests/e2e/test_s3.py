"""Sending to S3, through the store layer's driver s3put: keys, parts, headers, addresses."""

import hashlib
import pathlib
import re
import shutil
import time
import urllib.parse

import pytest

from conftest import SANITIZED
from s3_server import BUCKET, StrictS3, reset
from s3put import (MIB, PREFIX, S3PUT, SOME_KEY, put, s3rver, some_bytes,  # noqa: F401
                   strict)

# A whole S3 server, read back with boto3.


@pytest.mark.parametrize("size", [0, 1, 100_000, 16 * MIB, 16 * MIB + 1, 40 * MIB])
def test_a_file_arrives_byte_for_byte(s3rver, put, size):
    content = some_bytes(size)
    result = put.bytes(s3rver.env, f"file-{size}", content)
    assert result.sent
    assert result.rest == f"{size} {hashlib.sha256(content).hexdigest()}"
    assert s3rver.read(f"{PREFIX}/file-{size}") == content


@pytest.mark.parametrize("size", [1, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_a_stream_arrives_byte_for_byte(s3rver, put, size):
    content = some_bytes(size)
    assert put.stream(s3rver.env, f"stream-{size}", content).sent
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
    assert code(AWS_SESSION_TOKEN="unexpected") == "InvalidToken"
    assert not strict.objects


def test_a_large_file_is_sent_in_parts(strict, put):
    content = some_bytes(33 * MIB)
    assert put.bytes(strict.env, "large", content).sent
    assert strict.objects[f"{PREFIX}/large"] == content
    assert strict.actions == ["CreateMultipartUpload", *["UploadPart"] * 3,
                              "CompleteMultipartUpload"]


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


def test_a_profile_may_name_endpoint_and_authorities(tmp_path, put):
    with StrictS3(tmp_path, tls=["127.0.0.1"]) as strict:
        strict.speak_tls()
        (put.home / ".aws").mkdir()
        (put.home / ".aws/config").write_text(
            f"[default]\nca_bundle = {strict.authority.file}\nendpoint_url = {strict.url}\n")
        env = {**strict.env, "AWS_CA_BUNDLE": None, "AWS_ENDPOINT_URL_S3": None}
        assert put.bytes(env, "x", b"x").sent


@pytest.mark.parametrize("bucket, region, host, path", [
    ("crashes", "eu-west-1", "crashes.s3.eu-west-1.amazonaws.com", "/team-a/fluent-bit/x"),
    ("my.crashes", "eu-west-1", "s3.eu-west-1.amazonaws.com", "/my.crashes/team-a/fluent-bit/x"),
    ("crashes", "eu-west-1", "crashes.s3-fips.eu-west-1.amazonaws.com", "/team-a/fluent-bit/x"),
    ("crashes", "eu-west-1", "crashes.s3.dualstack.eu-west-1.amazonaws.com",
     "/team-a/fluent-bit/x"),
    ("crashes", "eu-west-1", "crashes.s3-fips.dualstack.eu-west-1.amazonaws.com",
     "/team-a/fluent-bit/x"),
])
def test_aws_is_addressed_by_its_own_host_names_through_a_proxy(tmp_path, put, bucket, region,
                                                                host, path):
    with StrictS3(tmp_path, bucket=bucket, region=region, tls=[host]) as strict:
        env = {**strict.proxy_env, "AWS_USE_FIPS_ENDPOINT": str("fips" in host).lower(),
               "AWS_USE_DUALSTACK_ENDPOINT": str("dualstack" in host).lower()}
        result = put.bytes(env, "x", b"x")
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
           "http_proxy": strict.url, "S3_ALLOW_HTTP": "yes"}
    content = some_bytes(20 * MIB)
    assert put.stream(env, "a b+é", content).sent
    assert all(r.proxied and r.host == "minio.example:9000" for r in strict.requests)
    assert strict.objects == {f"{PREFIX}/a b+é": content}


def test_no_proxy_is_honoured(strict, put):
    env = {**strict.env, "http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    assert put.bytes(env, "x", b"x").sent


@pytest.mark.parametrize("host, allow, error", [
    ("minio.example", "no", "S3_ALLOW_HTTP"), ("10.1.2.3", "no", "S3_ALLOW_HTTP"),
    ("127.0.0.1.example", "no", "S3_ALLOW_HTTP"), ("0.0.0.0", "no", "S3_ALLOW_HTTP"),
    ("minio.example", "yes", ""), ("localhost", "no", ""), ("127.9.9.9", "no", ""),
    ("[::1]", "no", ""),
])
def test_without_tls_only_this_machine_is_sent_to(put, host, allow, error):
    """Through a proxy that isn't there, so that none of them is."""
    env = {"S3_BUCKET": BUCKET, **SOME_KEY, "AWS_ENDPOINT_URL_S3": f"http://{host}:9",
           "http_proxy": "http://127.0.0.1:9", "S3_ALLOW_HTTP": allow, "AWS_MAX_ATTEMPTS": "1"}
    result = put.bytes(env, "x", b"x")
    assert (result.status == 2) == bool(error) and error in result.log


# What is said with an object.


SAID = {"S3_SSE": "aws:kms", "S3_SSE_KMS_KEY_ID": "arn:aws:kms:us-east-1:111122223333:key/ab-12",
        "S3_STORAGE_CLASS": "STANDARD_IA", "S3_TAGS": "team=a%20b&kind=crash",
        "S3_EXPECTED_BUCKET_OWNER": "111122223333", "S3_REQUEST_PAYER": "requester",
        "CRASH_ID": "fb_2026-11-21T101112_host_ab12"}


@pytest.mark.parametrize("size", [MIB, 17 * MIB])
def test_what_is_set_is_said_of_each_object(strict, put, size):
    strict.requester_pays = True
    content = some_bytes(size)
    assert put.bytes({**strict.env, **SAID}, "x", content).sent
    key = f"{PREFIX}/x"
    head = strict.client.head_object(Bucket=BUCKET, Key=key, RequestPayer="requester")
    assert head["ServerSideEncryption"] == "aws:kms"
    assert head["SSEKMSKeyId"] == SAID["S3_SSE_KMS_KEY_ID"]
    assert head["StorageClass"] == "STANDARD_IA"
    assert head["Metadata"] == {"crash-id": SAID["CRASH_ID"]}
    tags = strict.client.get_object_tagging(Bucket=BUCKET, Key=key, RequestPayer="requester")
    assert {tag["Key"]: tag["Value"] for tag in tags["TagSet"]} == dict(
        urllib.parse.parse_qsl(SAID["S3_TAGS"]))
    assert all(r.headers["x-amz-expected-bucket-owner"] == "111122223333"
               for r in strict.requests)


def test_another_accounts_bucket_gets_nothing(strict, put):
    result = put.bytes({**strict.env, "S3_EXPECTED_BUCKET_OWNER": "999999999999"}, "x", b"x")
    assert result.rest.startswith("EACCES AccessDenied (403)")
    assert not strict.objects


def test_a_rate_is_kept(strict, put):
    """2 MiB at 1 MiB/s: the time is a lower bound, so a slow machine can't break it."""
    began = time.monotonic()
    assert put.bytes({**strict.env, "UPLOAD_RATE": str(MIB)}, "x", some_bytes(2 * MIB)).sent
    assert time.monotonic() - began > 1


def test_progress_adds_up_to_what_was_sent(strict, put):
    strict.fail(reset(3 * MIB), action="UploadPart")
    result = put.bytes(strict.env, "x", some_bytes(33 * MIB))
    assert result.sent and result.out["progress"] == str(33 * MIB)
