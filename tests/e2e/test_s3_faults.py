"""What goes wrong on the way to S3, made to happen by a server of our own."""

import json
import os
import signal

import pytest

from s3_server import (BUCKET, StrictS3, answer, blackhole, error, lose_reply, redirect_to, reset,
                       stall)
from s3put import MIB, PREFIX, SOME_KEY, put, some_bytes, strict  # noqa: F401


@pytest.mark.parametrize("status, code, more, errno, mend", [
    (403, "AccessDenied", {}, "EACCES", "s3:PutObject"),
    (400, "ExpiredToken", {}, "EACCES", "renew"),
    (403, "RequestTimeTooSkewed", {}, "EACCES", "clock"),
    (403, "InvalidAccessKeyId", {}, "EACCES", "session token"),
    (301, "PermanentRedirect", {}, "EINVAL", "set AWS_REGION to the bucket's"),
    (400, "AuthorizationHeaderMalformed", {"Region": "cn-north-1"}, "EINVAL",
     "set AWS_REGION to cn-north-1"),
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
    result = put.bytes({"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": f"https://{'n' * 64}.invalid",
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


def test_what_takes_anything_by_an_etag_of_its_own_is_looked_at(strict, put):
    """A captive portal, say."""
    strict.fail(answer(200, headers={"ETag": '"portal-1"'}), action="PutObject", times=100)
    result = put.bytes(strict.env, "x", b"x")
    assert result.rest.startswith("EBADMSG ") and strict.actions[-1] == "HeadObject"
    assert not strict.objects


@pytest.mark.parametrize("what", ["secret_access_key", "token"])
def test_what_a_server_quotes_of_the_key_is_not_told(tmp_path, put, what):
    with StrictS3(tmp_path, token="FwoGZXIvYXdzEXAMPLETOKEN") as strict:
        quoted = getattr(strict, what)
        strict.fail(error(403, "SignatureDoesNotMatch", f"It was signed with {quoted}, wrongly."))
        result = put.bytes(strict.env, "x", b"x")
    assert "SignatureDoesNotMatch (403): It was signed with ; " in result.rest
    assert quoted[:8] not in result.rest + result.log


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
    assert result.rest.startswith("EBADMSG XAmzContentSHA256Mismatch (400)")
    assert not strict.objects and len(strict.requests) == 3


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


def test_servers_that_do_not_answer_are_given_up(strict, put):
    """All at once, since all only wait: 30 s of silence, then again; 3 x 10 s to connect."""
    listener, fillers = blackhole()
    deaf = {**strict.env, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{listener.getsockname()[1]}"}
    content = some_bytes(17 * MIB)
    path = put.content(content)
    strict.fail(stall(120), action="PutObject")
    strict.fail(stall(120, after=MIB), action="UploadPart")
    small = put.start(strict.env, "put", "small", "/dev/null")
    large = put.start(strict.env, "put", "large", path)
    to_deaf = put.finish(put.start(deaf, "put", "x", path), deaf)
    for process in (small, large):
        result = put.finish(process, strict.env)
        assert result.sent and "trying again" in result.log
    assert strict.read(f"{PREFIX}/small") == b"" and strict.read(f"{PREFIX}/large") == content
    assert to_deaf.rest.startswith("ETIMEDOUT ")
    for each in (listener, *fillers):
        each.close()


def test_a_burst_of_errors_is_sat_out(strict, put):
    content = some_bytes(33 * MIB)
    for action, fault in [("CreateMultipartUpload", error(503, "SlowDown")),
                          ("UploadPart", error(500, "InternalError")),
                          ("UploadPart", error(503, "ServiceUnavailable")),
                          ("CompleteMultipartUpload", error(503, "SlowDown"))]:
        strict.fail(fault, action=action)
    assert put.bytes({**strict.env, "AWS_MAX_ATTEMPTS": "4"}, "x", content).sent
    assert strict.read(f"{PREFIX}/x") == content
    assert strict.actions == [*["CreateMultipartUpload"] * 2, *["UploadPart"] * 5,
                              *["CompleteMultipartUpload"] * 2]


# The time that there is.


@pytest.mark.parametrize("fault", [stall(120), error(503, "SlowDown")], ids=["silence", "pauses"])
def test_a_deadline_ends_it_while_it_waits(strict, put, fault):
    """The deadline is set by another thread; s3put does that at SIGTERM."""
    def term(handler):
        os.kill(put.process.pid, signal.SIGTERM)
        return fault(handler)

    strict.fail(term, times=1000)
    result = put.bytes({**strict.env, "AWS_MAX_ATTEMPTS": "100"}, "x", b"x")
    assert result.rest == "ETIMEDOUT the deadline came before it was sent"


# Another region.


def in_ireland(tmp_path):
    return StrictS3(tmp_path, region="eu-west-1", tls=["*.s3.us-east-1.amazonaws.com",
                                                       "*.s3.eu-west-1.amazonaws.com",
                                                       "*.s3-eu-west-1.amazonaws.com"])


IRELAND = "crashes.s3.eu-west-1.amazonaws.com:443"


@pytest.mark.parametrize("region", ["us-east-1", "ap-south-1", None])
def test_a_bucket_is_followed_to_its_region(tmp_path, put, region):
    """None: no region is set anywhere, and the bucket is asked where it is."""
    with in_ireland(tmp_path) as strict:
        region_host = f"crashes.s3.{region or 'us-east-1'}.amazonaws.com"
        if region == "ap-south-1":  # what has no certificate here isn't talked to
            strict.authority = type(strict.authority)(tmp_path / "more", [
                region_host, "*.s3.eu-west-1.amazonaws.com"])
        content = some_bytes(17 * MIB)
        result = put.bytes({**strict.proxy_env, "AWS_REGION": region}, "x", content)
        assert result.sent and strict.objects == {f"{PREFIX}/x": content}
        assert strict.tunnels == [f"{region_host}:443", IRELAND]
        assert result.log.count("bucket crashes is in region eu-west-1") == 1


def test_an_endpoint_may_name_its_region(tmp_path, put):
    with StrictS3(tmp_path, region="eu-west-1") as strict:
        content = some_bytes(17 * MIB)
        assert put.bytes({**strict.env, "AWS_REGION": "us-east-1"}, "x", content).sent
        assert strict.read(f"{PREFIX}/x") == content
        assert [r.status for r in strict.requests[:2]] == [400, 200]


def test_a_temporary_redirect_within_s3_is_followed(tmp_path, put):
    with in_ireland(tmp_path) as strict:
        strict.fail(redirect_to("https://crashes.s3-eu-west-1.amazonaws.com/whatever"))
        assert put.bytes(strict.proxy_env, "x", b"x").sent
        assert strict.tunnels == [IRELAND, "crashes.s3-eu-west-1.amazonaws.com:443"]


@pytest.mark.parametrize("location", [
    "https://evil.example/crashes", "http://crashes.s3-eu-west-1.amazonaws.com/",
    "https://crashes.s3.eu-west-1.amazonaws.com.evil.example/",
    "https://user@crashes.s3.eu-west-1.amazonaws.com/", "https://other.s3.amazonaws.com/",
    "https://crashes.s3evil.amazonaws.com/", "",
])
def test_a_redirect_to_anywhere_else_is_not(tmp_path, put, location):
    with in_ireland(tmp_path) as strict:
        strict.fail(redirect_to(location))
        result = put.bytes(strict.proxy_env, "x", b"x")
        assert result.rest.startswith("EINVAL TemporaryRedirect (307)")
        assert strict.tunnels == [IRELAND] and len(strict.requests) == 1


@pytest.mark.parametrize("location", ["http://127.0.0.2:1/crashes", "https://s3.amazonaws.com/"])
def test_an_endpoint_that_was_set_is_never_left(strict, put, location):
    strict.fail(redirect_to(location))
    result = put.bytes(strict.env, "x", b"x")
    assert result.rest.startswith("EINVAL TemporaryRedirect (307)") and len(strict.requests) == 1


def test_two_servers_that_name_each_other_are_not_followed_for_ever(strict, put):
    for region in ("eu-west-1", "us-east-1") * 10:
        strict.fail(error(400, "AuthorizationHeaderMalformed", Region=region))
    result = put.bytes(strict.env, "x", b"x")
    assert result.rest.startswith("EINVAL AuthorizationHeaderMalformed")
    assert len(strict.requests) == 3


# Clocks and keys.


@pytest.mark.parametrize("ahead", [86400 * 400, -7200, 1200])
def test_a_wrong_clock_is_set_right_by_the_servers(strict, put, ahead):
    strict.clock = ahead
    content = some_bytes(33 * MIB)
    result = put.bytes(strict.env, "x", content)
    assert result.sent and strict.objects[f"{PREFIX}/x"] == content
    assert [r.status for r in strict.requests].count(403) == 1
    assert result.log.count("this machine's clock is") == 1


class Role:
    """Temporary credentials from a process that the profile names."""

    def __init__(self, put):
        (put.home / ".aws").mkdir()
        self.path = put.home / "credentials.json"
        (put.home / ".aws/config").write_text(
            f"[default]\ncredential_process = /bin/cat {self.path}\n")

    def give(self, strict, key_id, token):
        strict.access_key_id, strict.token = key_id, token
        self.path.write_text(json.dumps({
            "Version": 1, "AccessKeyId": key_id, "SessionToken": token,
            "SecretAccessKey": strict.secret_access_key, "Expiration": "2099-01-01T00:00:00Z"}))


def test_a_token_that_expires_during_an_upload_is_renewed(strict, put):
    role = Role(put)
    role.give(strict, "ASIAFIRST", "first-token")

    def expire(handler):
        strict.expired = {"first-token"}
        role.give(strict, "ASIASECOND", "second-token")
        return False

    strict.fail(lambda handler: False, action="UploadPart")
    strict.fail(expire, action="UploadPart")
    env = {"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": strict.url, "AWS_REGION": strict.region}
    content = some_bytes(49 * MIB)
    result = put.bytes(env, "x", content)
    assert result.sent and strict.objects[f"{PREFIX}/x"] == content
    assert [r.status for r in strict.requests].count(400) == 1
    assert "first-token" not in result.log and "second-token" not in result.log


def test_a_token_that_nothing_renews_is_told(strict, put):
    role = Role(put)
    role.give(strict, "ASIAFIRST", "first-token")
    strict.expired = {"first-token"}
    env = {"S3_BUCKET": BUCKET, "AWS_ENDPOINT_URL_S3": strict.url, "AWS_REGION": strict.region}
    result = put.bytes(env, "x", b"x")
    assert result.rest.startswith("EACCES ExpiredToken (400)") and len(strict.requests) == 1


# Replies that get lost.


def test_a_lost_reply_of_complete_is_looked_up(strict, put):
    content = some_bytes(17 * MIB)
    strict.fail(lose_reply, action="CompleteMultipartUpload")
    assert put.bytes(strict.env, "x", content).sent
    assert strict.objects == {f"{PREFIX}/x": content}
    assert strict.actions == ["CreateMultipartUpload", *["UploadPart"] * 2,
                              *["CompleteMultipartUpload"] * 2, "HeadObject"]


def test_a_lost_upload_is_not_taken_for_another_object(strict, put):
    """Something of that name is there, but not what was sent."""
    assert put.bytes(strict.env, "x", b"something else").sent

    def lose_upload(handler):
        strict.uploads.clear()
        return False

    strict.fail(lose_upload, action="CompleteMultipartUpload")
    result = put.bytes(strict.env, "x", some_bytes(17 * MIB))
    assert result.rest.startswith("EIO NoSuchUpload (404)")
    assert strict.objects == {f"{PREFIX}/x": b"something else"}
