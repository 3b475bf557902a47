"""S3 servers for the end-to-end tests.

S3rver is a whole S3 server (npm), over real HTTP, which checks signatures but not payloads.
StrictS3 is ours: it lets nothing pass that Amazon S3 would not, and misbehaves on demand. It is
also an HTTP proxy, so that requests for Amazon's own host names end here.
"""

import datetime
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import threading
import urllib.parse
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials

from s3_checksums import CHECKSUMS, base64_of, decoded
from s3_http import (Authority, Fault, Handler, Refusal, Server, answer, blackhole,  # noqa: F401
                     error, lose_reply, redirect_to, reset, stall)

TESTS = pathlib.Path(__file__).resolve().parents[1]
NODE_MODULES = pathlib.Path(os.environ.get("COREINIT_NODE_MODULES", TESTS / "node_modules"))
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
BUCKET = "crashes"

S3RVER_SCRIPT = """
const S3rver = require(process.argv[1]);
new S3rver({directory: process.argv[2], address: process.argv[3], port: 0, silent: true,
            vhostBuckets: false, configureBuckets: [{name: process.argv[4]}]})
    .run().then(({port}) => console.log(port));
"""


def why_no_s3rver():
    """Why S3rver can't be run here, or None."""
    if not shutil.which("node"):
        return "node is missing"
    if not (NODE_MODULES / "@20minutes/s3rver").is_dir():
        return f"s3rver is missing in {NODE_MODULES} (npm ci in tests/)"
    return None


class S3rver:
    """A running S3rver with one bucket: `with S3rver(tmp_path) as s3: …`."""

    def __init__(self, tmp_path, address="127.0.0.1", bucket=BUCKET):
        self.directory = tmp_path / "s3rver"
        self.address = address
        self.bucket = bucket

    def __enter__(self):
        self.process = subprocess.Popen(
            ["node", "-e", S3RVER_SCRIPT, NODE_MODULES / "@20minutes/s3rver", self.directory,
             self.address, self.bucket],
            stdout=subprocess.PIPE, text=True)
        port = self.process.stdout.readline().strip()
        if not port:
            raise RuntimeError("s3rver did not start")
        self.endpoint = f"http://{self.address}:{port}"
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id="S3RVER", aws_secret_access_key="S3RVER",
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def env(self):
        """What makes coreinit send here."""
        return {"S3_BUCKET": self.bucket, "AWS_ENDPOINT_URL_S3": self.endpoint,
                "AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"}

    def keys(self):
        """All objects' keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def read(self, key):
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()


class StrictS3:
    """A running strict server with one bucket: `with StrictS3(tmp_path) as s3: …`.

    @token  a session token that every request must carry
    @tls    names that the server's certificate holds, for an https endpoint

    What can be set while it runs:
    algorithms      kinds of checksums that it knows
    refuses         whether it says so of others; else it takes no notice of them
    owner           the bucket's account
    requester_pays  whether requests must agree to that
    clock           seconds that its clock is ahead
    expired         session tokens that have expired
    lies            actions whose next replies tell a wrong checksum, and how many
    page            how many parts it lists at once, at most
    """

    access_key_id = "AKIDEXAMPLE"
    secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    def __init__(self, tmp_path, bucket=BUCKET, region="us-east-1", token=None, tls=None):
        self.bucket, self.region, self.token = bucket, region, token
        self.authority = Authority(tmp_path / "tls", tls) if tls else None
        self.requests, self.tunnels, self.faults = [], [], []
        self.objects, self.uploads, self.aborted = {}, {}, []
        self.about = {}  # of each object and upload id: what is known besides its bytes
        self.algorithms, self.refuses = set(CHECKSUMS), True
        self.owner, self.requester_pays = "111122223333", False
        self.clock, self.expired, self.lies, self.page = 0, set(), {}, 1000
        self.closes_silently = False
        self.padding = b""  # sent before CompleteMultipartUpload's reply
        self.silent_complete = False  # which tells no checksum then
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.s3 = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def speak_tls(self):
        """Makes this an https server."""
        self.server.socket = self.authority.context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = self.url.replace("http:", "https:")
        return self

    @property
    def env(self):
        """What makes coreinit send here, by a custom endpoint."""
        env = {"S3_BUCKET": self.bucket, "AWS_ENDPOINT_URL_S3": self.url,
               "AWS_REGION": self.region, **self.credentials}
        if self.authority:
            env["AWS_CA_BUNDLE"] = str(self.authority.file)
        return env

    @property
    def proxy_env(self):
        """What makes coreinit send to Amazon's own host names, which end here."""
        env = self.env
        del env["AWS_ENDPOINT_URL_S3"]
        return {**env, "https_proxy": self.url}

    @property
    def credentials(self):
        env = {"AWS_ACCESS_KEY_ID": self.access_key_id,
               "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        if self.token:
            env["AWS_SESSION_TOKEN"] = self.token
        return env

    @property
    def actions(self):
        return [request.action for request in self.requests]

    def now(self):
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.clock)

    @functools.cached_property
    def client(self):
        """boto3's, to look at what has arrived."""
        return boto3.client(
            "s3", endpoint_url=self.url, region_name=self.region,
            aws_access_key_id=self.access_key_id, aws_secret_access_key=self.secret_access_key,
            aws_session_token=self.token,
            verify=str(self.authority.file) if self.authority else None,
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}))

    def read(self, key):
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def fail(self, do, action=None, times=1):
        self.faults.append(Fault(do, action, times))

    def take_fault(self, action):
        with self.lock:
            for fault in self.faults:
                if fault.times > 0 and fault.action in (None, action):
                    fault.times -= 1
                    return fault
        return None

    # What Amazon S3 checks.

    def handle(self, handler, request):
        """Returns status, body and headers of the reply, or raises a Refusal."""
        key = self.resolve(request)
        self.authenticate(request, handler.raw_query)
        body = handler.read_body()
        if hashlib.sha256(body).hexdigest() != request.headers["x-amz-content-sha256"]:
            raise Refusal(400, "XAmzContentSHA256Mismatch", "The provided hash does not match.")
        if request.headers.get("content-md5", base64_of(hashlib.md5(body).digest())) != base64_of(
                hashlib.md5(body).digest()):
            raise Refusal(400, "BadDigest", "The Content-MD5 you specified did not match.")
        if request.headers.get("x-amz-expected-bucket-owner", self.owner) != self.owner:
            raise Refusal(403, "AccessDenied", "Access Denied")
        if self.requester_pays and request.headers.get("x-amz-request-payer") != "requester":
            raise Refusal(403, "AccessDenied", "Access Denied")
        with self.lock:
            return getattr(self, request.action)(request, key, body)

    def resolve(self, request):
        """Bucket and key, of either style. Returns the key."""
        path = urllib.parse.unquote(request.path, errors="strict")
        match = re.fullmatch(r"(?:(.+)\.)?s3(?:-fips)?(?:\.dualstack)?[.-]([a-z0-9-]+)"
                             r"\.amazonaws\.com", request.host)
        if match and match[2] != self.region:
            raise Refusal(301, "PermanentRedirect", "Please send all future requests elsewhere.",
                          {"x-amz-bucket-region": self.region}, Bucket=self.bucket)
        if match and match[1]:
            path = f"/{match[1]}{path}"
        bucket, _, key = path[1:].partition("/")
        if bucket != self.bucket:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
        return key

    def authenticate(self, request, raw_query):
        headers = request.headers
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""))
        if not match:
            raise Refusal(403, "AccessDenied", "Access Denied")
        access_key_id, date, region, signed_headers, signature = match.groups()
        if headers.get("x-amz-security-token") in self.expired:
            raise Refusal(400, "ExpiredToken", "The provided token has expired.")
        if access_key_id != self.access_key_id:
            raise Refusal(403, "InvalidAccessKeyId", "The key does not exist in our records.")
        if region != self.region:
            raise Refusal(400, "AuthorizationHeaderMalformed",
                          f"the region '{region}' is wrong; expecting '{self.region}'",
                          Region=self.region)
        if headers.get("x-amz-security-token") != self.token:
            raise Refusal(400, "InvalidToken", "The provided token is malformed.")
        signed = signed_headers.split(";")
        must = [name for name in headers
                if name in ("host", "content-type", "content-md5") or name.startswith("x-amz-")]
        if signed != sorted(signed) or not set(must) <= set(signed) <= set(headers):
            raise Refusal(403, "AccessDenied", f"signed {signed} of {must}")
        when = datetime.datetime.strptime(headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
        if (abs((self.now() - when).total_seconds()) > 900
                or date != headers["x-amz-date"][:8]):
            raise Refusal(403, "RequestTimeTooSkewed", "The difference is too large.")
        if signature != self.sign(request, raw_query, signed):
            raise Refusal(403, "SignatureDoesNotMatch", "The signatures do not match.")

    def sign(self, request, raw_query, signed):
        """The signature by botocore, over the canonical form of what was sent: path and query are
        decoded and encoded again, as the Signature Version 4 documentation wants it."""
        path = urllib.parse.quote(urllib.parse.unquote_to_bytes(request.path), safe="/-._~")
        query = sorted(urllib.parse.parse_qsl(raw_query, keep_blank_values=True))
        query = "&".join(f"{urllib.parse.quote(name, safe='-._~')}="
                         f"{urllib.parse.quote(value, safe='-._~')}" for name, value in query)
        auth = botocore.auth.S3SigV4Auth(
            botocore.credentials.Credentials(self.access_key_id, self.secret_access_key),
            "s3", self.region)
        again = botocore.awsrequest.AWSRequest(
            method=request.method, url=f"http://{request.host}{path}?{query}",
            headers={name: request.headers[name] for name in signed})
        again.context["timestamp"] = request.headers["x-amz-date"]
        text = auth.string_to_sign(again, auth.canonical_request(again))
        return auth.signature(text, again)

    # Checksums.

    def algorithm_of(self, name):
        """The kind of checksum that a request names, or None."""
        if not name or name in self.algorithms:
            return name
        if self.refuses:
            raise Refusal(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
        return None

    def verify(self, request, body):
        """Returns the kind of the checksum that a body came with, or None; and its value."""
        for name in request.headers:
            match = re.fullmatch("x-amz-checksum-(crc.+)", name)
            if match and self.algorithm_of(match[1].upper()):
                value = base64_of(CHECKSUMS[match[1].upper()](body))
                if request.headers[name] != value:
                    raise Refusal(400, "BadDigest", f"The {match[1]} did not match.")
                return match[1].upper(), value
        return None, None

    def told(self, request, checksum):
        """A checksum as a reply tells it."""
        if checksum and self.lies.get(request.action, 0) > 0:
            self.lies[request.action] -= 1
            return base64_of(bytes(len(decoded(checksum.partition("-")[0]))))
        return checksum

    def told_headers(self, request, algorithm, checksum):
        return {f"x-amz-checksum-{algorithm.lower()}": self.told(request, checksum)
                } if algorithm else {}

    # What it does.

    ABOUT = ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
             "x-amz-storage-class", "x-amz-tagging", "x-amz-meta-crash-id")

    def about_new(self, request):
        """What the headers say of an object."""
        about = {name: request.headers[name] for name in self.ABOUT if name in request.headers}
        if (not about.get("x-amz-server-side-encryption", "aws:kms").startswith("aws:kms")
                and "x-amz-server-side-encryption-aws-kms-key-id" in about):
            raise Refusal(400, "InvalidArgument", "A key id needs aws:kms.")
        return about

    def about_headers(self, about):
        return {name: value for name, value in about.items() if name != "x-amz-tagging"}

    def encryption(self, about):
        return {name: value for name, value in about.items() if name in self.ABOUT[:2]}

    def md5(self, about, body):
        """An ETag, which is no MD5 where a key encrypts."""
        salt = b"key" if about.get("x-amz-server-side-encryption", "")[:7] == "aws:kms" else b""
        return hashlib.md5(salt + body).hexdigest()

    def PutObject(self, request, key, body):
        about = self.about_new(request)
        algorithm, checksum = self.verify(request, body)
        etag = f'"{self.md5(about, body)}"'
        self.objects[key] = body
        self.about[key] = {**about, "etag": etag, "algorithm": algorithm, "checksum": checksum}
        if self.lies.get(request.action, 0) > 0 and not algorithm:
            self.lies[request.action] -= 1
            etag = f'"{0:032x}"'
        return 200, b"", {"ETag": etag, **self.told_headers(request, algorithm, checksum),
                          **self.about_headers(about)}

    def found(self, request, key):
        if key not in self.objects:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        about = self.about[key]
        with_checksum = request.headers.get("x-amz-checksum-mode") == "ENABLED"
        shown = {name: about[name] for name in self.ABOUT if name in about}
        return {"ETag": about["etag"], "Content-Length": str(len(self.objects[key])),
                **self.about_headers(shown),
                **(self.told_headers(request, about["algorithm"], about["checksum"])
                   if with_checksum else {})}

    def HeadObject(self, request, key, body):
        return 200, b"", self.found(request, key)

    def GetObject(self, request, key, body):
        if "tagging" in request.query:
            return 200, self.tagging(key), {}
        return 200, self.objects.get(key, b""), self.found(request, key)

    def tagging(self, key):
        tags = urllib.parse.parse_qsl(self.about[key].get("x-amz-tagging", ""))
        return ("<Tagging><TagSet>" + "".join(
            f"<Tag><Key>{escape(name)}</Key><Value>{escape(value)}</Value></Tag>"
            for name, value in tags) + "</TagSet></Tagging>").encode()

    def DeleteObject(self, request, key, body):
        self.objects.pop(key, None)
        return 204, b"", {}

    def CreateMultipartUpload(self, request, key, body):
        about = self.about_new(request)
        algorithm = self.algorithm_of(request.headers.get("x-amz-checksum-algorithm"))
        kind = request.headers.get("x-amz-checksum-type",
                                   "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE")
        if algorithm == "CRC64NVME" and kind != "FULL_OBJECT":
            raise Refusal(400, "InvalidRequest", "CRC64NVME is of full objects.")
        upload_id = f"id {len(self.about)}/=&%<~.é"
        self.uploads[upload_id] = (key, {})
        self.about[upload_id] = {**about, "algorithm": algorithm, "kind": kind}
        return 200, (f'<?xml version="1.0" encoding="UTF-8"?>\n'
                     f'<InitiateMultipartUploadResult xmlns="{XMLNS}"><Bucket>{self.bucket}'
                     f"</Bucket><Key>{escape(key)}</Key><UploadId>{escape(upload_id)}</UploadId>"
                     "</InitiateMultipartUploadResult>").encode(), {
                         **({"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
                            if algorithm else {}), **self.about_headers(about)}

    def upload_of(self, request, key):
        upload = self.uploads.get(request.query["uploadId"])
        if not upload or upload[0] != key:
            raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload[1], self.about[request.query["uploadId"]]

    def UploadPart(self, request, key, body):
        number = int(request.query["partNumber"])
        if not 1 <= number <= 10000:
            raise Refusal(400, "InvalidArgument", "Part number must be 1 to 10000.")
        parts, about = self.upload_of(request, key)
        algorithm, checksum = self.verify(request, body)
        if algorithm != about["algorithm"]:
            raise Refusal(400, "InvalidRequest", "Checksum Type mismatch occurred.")
        # An ETag is an MD5 where that is what the client goes by; else it has to be escaped.
        etag = self.md5(about, body)
        etag = f'"{etag}"' if not algorithm else f'"{etag}&{number}"'
        parts[number] = (etag, body, checksum)
        return 200, b"", {"ETag": etag, **self.told_headers(request, algorithm, checksum),
                          **self.encryption(about)}

    def ListParts(self, request, key, body):
        parts, about = self.upload_of(request, key)
        marker = int(request.query.get("part-number-marker", 0))
        limit = min(self.page, int(request.query.get("max-parts", 1000)))
        behind = sorted(number for number in parts if number > marker)
        algorithm = about["algorithm"]
        kinds = (f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm>"
                 f"<ChecksumType>{about['kind']}</ChecksumType>" if algorithm else "")
        rows = ""
        for number in behind[:limit]:
            etag, content, checksum = parts[number]
            rows += (f"<Part><PartNumber>{number}</PartNumber>"
                     f"<LastModified>2026-11-21T00:00:00.000Z</LastModified>"
                     f"<ETag>{escape(etag)}</ETag><Size>{len(content)}</Size>")
            if checksum:
                rows += f"<Checksum{algorithm}>{checksum}</Checksum{algorithm}>"
            rows += "</Part>"
        return 200, (f'<?xml version="1.0" encoding="UTF-8"?>\n<ListPartsResult xmlns="{XMLNS}">'
                     f"<Bucket>{self.bucket}</Bucket><Key>{escape(key)}</Key>{kinds}"
                     f"<PartNumberMarker>{marker}</PartNumberMarker>"
                     f"<IsTruncated>{str(len(behind) > limit).lower()}</IsTruncated>{rows}"
                     "</ListPartsResult>").encode(), {}

    def object_checksum(self, about, bodies):
        """Of an object in parts."""
        algorithm = about["algorithm"]
        if not algorithm:
            return None
        if about["kind"] == "FULL_OBJECT":
            return base64_of(CHECKSUMS[algorithm](b"".join(bodies)))
        sums = b"".join(map(CHECKSUMS[algorithm], bodies))
        return f"{base64_of(CHECKSUMS[algorithm](sums))}-{len(bodies)}"

    def CompleteMultipartUpload(self, request, key, body):
        parts, about = self.upload_of(request, key)
        algorithm = about["algorithm"]
        listed = [tuple(part.findtext(f"{{{XMLNS}}}{name}")
                        for name in ("PartNumber", "ETag", f"Checksum{algorithm}"))
                  for part in ET.fromstring(body)]
        if listed != [(str(number), parts[number][0], parts[number][2])
                      for number in sorted(parts)]:
            raise Refusal(400, "InvalidPart", "One or more parts could not be found.")
        bodies = [parts[number][1] for number in sorted(parts)]
        whole = b"".join(bodies)
        if any(len(part) < 5 << 20 for part in bodies[:-1]):
            raise Refusal(400, "EntityTooSmall", "A part is smaller than the minimum.")
        if int(request.headers.get("x-amz-mp-object-size", len(whole))) != len(whole):
            raise Refusal(400, "InvalidRequest", "The object has another size.")
        checksum = self.object_checksum(about, bodies)
        if about["kind"] == "FULL_OBJECT" and algorithm and checksum != request.headers.get(
                f"x-amz-checksum-{algorithm.lower()}", checksum):
            raise Refusal(400, "BadDigest", "The object's checksum did not match.")
        sums = b"".join(hashlib.md5(part).digest() for part in bodies)
        etag = f'"{self.md5(about, sums)}-{len(bodies)}"'
        self.objects[key] = whole
        self.about[key] = {**about, "etag": etag, "checksum": checksum}
        del self.uploads[request.query["uploadId"]]
        told = self.told(request, checksum)
        element = f"<Checksum{algorithm}>{told}</Checksum{algorithm}>" if told else ""
        if self.silent_complete:
            element, etag = "", '"x"'
        return 200, self.padding + (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<CompleteMultipartUploadResult '
            f'xmlns="{XMLNS}"><ETag>{escape(etag)}</ETag>{element}'
            "</CompleteMultipartUploadResult>").encode(), self.encryption(about)

    def AbortMultipartUpload(self, request, key, body):
        self.upload_of(request, key)
        self.aborted.append(key)
        del self.uploads[request.query["uploadId"]]
        return 204, b"", {}
