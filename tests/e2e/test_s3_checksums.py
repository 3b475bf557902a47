"""Checksums of what is sent to S3, what is made of the server's, and uploads that go on by them."""

import re

import pytest

from s3_server import answer, error
from s3put import MIB, PREFIX, put, s3rver, some_bytes, strict  # noqa: F401

KEY = f"{PREFIX}/x"
SIZES = [MIB, 17 * MIB]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "ignores"])
@pytest.mark.parametrize("known, used", [
    ({"CRC64NVME", "CRC32C", "CRC32"}, "CRC64NVME"), ({"CRC32C", "CRC32"}, "CRC32C"),
    ({"CRC32"}, "CRC32"), (set(), None),
])
def test_the_best_checksum_that_the_server_knows_is_used(strict, put, size, refuses, known, used):
    strict.algorithms, strict.refuses = known, refuses
    content = some_bytes(size)
    assert put.bytes(strict.env, "x", content).sent
    assert strict.read(KEY) == content
    assert strict.about[KEY]["algorithm"] == used
    last = [r for r in strict.requests if r.action in ("PutObject", "UploadPart")][-1]
    assert ("content-md5" in last.headers) == (used is None)
    assert not strict.uploads


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("setting, used", [("crc64nvme", "CRC64NVME"), ("crc32c", "CRC32C"),
                                           ("crc32", "CRC32"), ("md5", None)])
def test_a_checksum_may_be_asked_for(strict, put, size, setting, used):
    content = some_bytes(size)
    assert put.bytes({**strict.env, "S3_CHECKSUM": setting}, "x", content).sent
    assert strict.objects[KEY] == content and strict.about[KEY]["algorithm"] == used


@pytest.mark.parametrize("size", SIZES)
def test_one_that_was_asked_for_has_no_substitute(strict, put, size):
    strict.algorithms, strict.refuses = {"CRC32"}, False
    result = put.bytes({**strict.env, "S3_CHECKSUM": "crc32c"}, "x", some_bytes(size))
    assert result.rest.startswith("EINVAL ") and "S3_CHECKSUM" in result.rest
    assert not strict.uploads


@pytest.mark.parametrize("size", SIZES)
def test_a_server_without_checksums_is_compared_by_etags(s3rver, put, size):
    content = some_bytes(size)
    result = put.bytes(s3rver.env, f"md5-{size}", content)
    assert result.sent and "knows no CRC32 checksums" in result.log
    assert s3rver.read(f"{PREFIX}/md5-{size}") == content


@pytest.mark.parametrize("setting", ["auto", "crc32c", "crc32", "md5"])
def test_an_object_that_arrives_wrong_is_sent_again(strict, put, setting):
    content = some_bytes(MIB)
    strict.lies = {"PutObject": 2}
    assert put.bytes({**strict.env, "S3_CHECKSUM": setting}, "x", content).sent
    assert strict.read(KEY) == content and strict.actions == ["PutObject"] * 3


def test_a_part_that_arrives_wrong_is_sent_again(strict, put):
    content = some_bytes(17 * MIB)
    strict.lies = {"UploadPart": 1}
    assert put.bytes(strict.env, "x", content).sent
    assert strict.read(KEY) == content and strict.actions.count("UploadPart") == 3


@pytest.mark.parametrize("size, action", [(MIB, "PutObject"), (17 * MIB, "UploadPart"),
                                          (17 * MIB, "CompleteMultipartUpload")])
def test_what_stays_wrong_is_not_called_sent(strict, put, size, action):
    strict.lies = {action: 100}
    result = put.bytes(strict.env, "x", some_bytes(size))
    assert result.rest.startswith("EBADMSG the server has other bytes")
    assert not strict.uploads


@pytest.mark.parametrize("setting", ["auto", "crc32c", "md5"])
def test_a_checksum_that_complete_does_not_tell_is_asked_for(strict, put, setting):
    strict.silent_complete = True
    result = put.bytes({**strict.env, "S3_CHECKSUM": setting}, "x", some_bytes(17 * MIB))
    assert result.sent and strict.actions[-1] == "HeadObject"
    assert ": warning: " not in result.log


def test_an_answer_that_is_wrong_counts(strict, put):
    strict.silent_complete = True
    strict.lies = {"HeadObject": 1}
    result = put.bytes(strict.env, "x", some_bytes(17 * MIB))
    assert result.rest.startswith("EBADMSG the server has other bytes")


def test_what_may_not_be_asked_for_is_told(strict, put):
    strict.silent_complete = True
    strict.fail(answer(403), action="HeadObject", times=10)
    result = put.bytes(strict.env, "x", some_bytes(17 * MIB))
    assert result.sent and "coreinit: warning: x is in s3://" in result.log


def test_an_etag_under_a_kms_key_is_no_md5(strict, put):
    env = {**strict.env, "S3_CHECKSUM": "md5", "S3_SSE": "aws:kms"}
    assert put.bytes(env, "x", some_bytes(MIB)).sent
    assert put.bytes(env, "y", some_bytes(17 * MIB)).sent


# Going on with an upload that was left.


def leave(strict, put, content, env=None, parts=2):
    """An upload whose next part is refused, once. Returns its id."""
    for _ in range(parts):
        strict.fail(lambda handler: False, action="UploadPart")
    strict.fail(error(403, "AccessDenied"), action="UploadPart")
    result = put.bytes({**strict.env, "S3PUT_LEAVE": "yes", **(env or {})}, "x", content)
    assert result.status == 1 and len(strict.uploads) == 1
    strict.requests.clear()
    return result.out["upload"]


def resume(strict, put, upload_id, env=None):
    return put.run({**strict.env, **(env or {})}, "resume", "x", put.tmp_path / "content",
                   upload_id)


@pytest.mark.parametrize("setting, page", [("auto", 1000), ("auto", 1), ("crc32c", 1),
                                           ("crc32", 1), ("md5", 1)])
def test_parts_that_are_there_are_not_sent_again(strict, put, setting, page):
    strict.page = page
    content = some_bytes(33 * MIB)
    upload_id = leave(strict, put, content, {"S3_CHECKSUM": setting})
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", upload_id)
    result = resume(strict, put, upload_id, {"S3_CHECKSUM": setting})
    assert result.sent and strict.read(KEY) == content
    assert strict.actions == [*["ListParts"] * (1 if page > 1 else 2), "UploadPart",
                              "CompleteMultipartUpload"]
    assert result.out["upload"] == upload_id and result.out["resumed"] == "2"
    assert result.out["progress"] == str(len(content))


def test_a_part_that_is_another_now_is_sent(strict, put):
    content = some_bytes(33 * MIB)
    upload_id = leave(strict, put, content)
    other = content[:20 * MIB] + b"something else" + content[20 * MIB + 14:]
    put.content(other)
    result = resume(strict, put, upload_id)
    assert result.sent and strict.read(KEY) == other
    assert result.out["resumed"] == "1"


@pytest.mark.parametrize("known", [{"CRC32C"}, set()])
def test_an_upload_goes_on_with_the_checksum_that_it_began_with(strict, put, known):
    """Another life of the server, which knows more."""
    strict.algorithms = known
    content = some_bytes(17 * MIB)
    upload_id = leave(strict, put, content, parts=1)
    strict.algorithms = {"CRC64NVME", "CRC32C", "CRC32"}
    result = resume(strict, put, upload_id)
    assert result.sent and strict.read(KEY) == content and result.out["resumed"] == "1"


def test_an_upload_that_is_no_more_is_begun_anew(strict, put):
    content = some_bytes(17 * MIB)
    upload_id = leave(strict, put, content, parts=1)
    strict.uploads.clear()
    result = resume(strict, put, upload_id)
    assert result.sent and strict.read(KEY) == content and result.out["resumed"] == "0"
    assert not strict.aborted


@pytest.mark.parametrize("upload_id", ["", "a b", "a&b=c", "a\r\nb", "%" * 4000, "../x", "ü"])
def test_an_id_that_is_none_is_taken_for_none(strict, put, upload_id):
    put.content(some_bytes(MIB))
    assert resume(strict, put, upload_id).sent
    assert strict.actions[-3:] == ["CreateMultipartUpload", "UploadPart",
                                   "CompleteMultipartUpload"]


def part(number, size=16 * MIB, etag="x"):
    return (f"<Part><PartNumber>{number}</PartNumber><Size>{size}</Size><ETag>{etag}</ETag>"
            "</Part>")


def listing(parts, more="false"):
    return (f"<ListPartsResult><IsTruncated>{more}</IsTruncated>{parts}"
            "</ListPartsResult>").encode()


@pytest.mark.parametrize("fault", [
    error(403, "AccessDenied"), error(501, "NotImplemented"), answer(200, b"<html/>"),
    answer(200, listing(part(2) + part(1))), answer(200, listing(part(0))),
    answer(200, listing(part(10001))), answer(200, listing(part(-1))),
    answer(200, listing(part(1, "0x10"))), answer(200, listing(part(1, etag="e" * 200))),
    answer(200, listing(part("99999999999"))),
    answer(200, listing("".join(map(part, range(1, 2000))))), answer(200, listing("")),
], ids=["refused", "not implemented", "no list", "disorder", "0", "10001", "-1", "hex", "long",
        "overflow", "huge", "empty"])
def test_an_upload_that_can_not_be_listed_is_begun_anew(strict, put, fault):
    content = some_bytes(17 * MIB)
    upload_id = leave(strict, put, content, parts=1)
    strict.fail(fault, action="ListParts")
    result = resume(strict, put, upload_id)
    assert result.sent and strict.objects[KEY] == content and result.out["resumed"] == "0"
    assert strict.aborted == [KEY] and not strict.uploads


@pytest.mark.parametrize("body", [listing("", more="true"), listing(part(7), more="true")])
def test_a_list_that_never_ends_is_not_read_for_ever(strict, put, body):
    content = some_bytes(17 * MIB)
    upload_id = leave(strict, put, content, parts=1)
    strict.fail(answer(200, body), action="ListParts", times=100)
    assert resume(strict, put, upload_id).sent
    assert strict.objects[KEY] == content and strict.actions.count("ListParts") <= 2


def test_while_the_server_is_away_nothing_is_begun_anew(strict, put):
    upload_id = leave(strict, put, some_bytes(17 * MIB), parts=1)
    strict.fail(error(503, "SlowDown"), action="ListParts", times=100)
    result = resume(strict, put, upload_id, {"S3PUT_LEAVE": "yes", "AWS_MAX_ATTEMPTS": "1"})
    assert result.rest.startswith("EIO SlowDown") and len(strict.uploads) == 1
    assert strict.actions == ["ListParts"]
