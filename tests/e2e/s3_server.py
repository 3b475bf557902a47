"""S3 servers for the end-to-end tests.

S3rver is a whole S3 server (npm), over real HTTP, which checks signatures but not payloads.
StrictS3 is ours: it lets nothing pass that Amazon S3 would not, and misbehaves on demand. It is
also an HTTP proxy, so that requests for Amazon's own host names end here.
"""

import dataclasses
import datetime
import hashlib
import http.server
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable
from xml.sax.saxutils import escape

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials

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


class Authority:
    """A certificate authority of our own, and one server certificate by it."""

    def __init__(self, directory, names):
        directory.mkdir(exist_ok=True)
        self.file = directory / "ca.pem"
        self.certificate, self.key = directory / "server.pem", directory / "server.key"
        subject_names = ",".join(
            ("IP:" if name[0].isdigit() else "DNS:") + name for name in names)

        def openssl(*arguments):
            subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=CA",
                "-keyout", directory / "ca.key", "-out", self.file,
                "-addext", "keyUsage=keyCertSign")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=server",
                "-keyout", self.key, "-out", directory / "server.csr")
        extensions = directory / "server.ext"
        extensions.write_text(f"subjectAltName={subject_names}\n")
        openssl("x509", "-req", "-days", "2", "-in", directory / "server.csr", "-CA", self.file,
                "-CAkey", directory / "ca.key", "-CAcreateserial", "-extfile", extensions,
                "-out", self.certificate)

    @property
    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class Refusal(Exception):
    """An S3 error."""

    def __init__(self, status, code, message="", **more):
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more

    @property
    def xml(self):
        more = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in self.more.items())
        return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{self.code}</Code>'
                f"<Message>{escape(self.message)}</Message>{more}"
                "<RequestId>0123456789ABCDEF</RequestId></Error>").encode()


@dataclasses.dataclass
class Request:
    """One request as it came in."""

    method: str
    target: str  # as on the request line
    host: str
    path: str  # raw, percent-encoded
    query: dict
    headers: dict  # lower-case names
    proxied: bool
    status: int = 0  # of our reply

    @property
    def action(self):
        """The S3 API's name for it."""
        if self.method == "POST":
            return "CreateMultipartUpload" if "uploads" in self.query else "CompleteMultipartUpload"
        if self.method == "DELETE":
            return "AbortMultipartUpload" if "uploadId" in self.query else "DeleteObject"
        return "UploadPart" if "uploadId" in self.query else "PutObject"


@dataclasses.dataclass
class Fault:
    """Misbehaves @times times in requests of one action (any, where None).

    @do(handler) either answers by itself and returns True, or returns False to go on as usual;
    it is called before the body is read.
    """

    do: Callable
    action: str | None = None
    times: int = 1


def answer(status, body=b"", headers=None):
    """A fault that reads the body and gives this answer."""

    def do(handler):
        handler.read_body()
        handler.answer(status, body, headers)
        return True

    return do


def error(status, code, message="", **more):
    return answer(status, Refusal(status, code, message, **more).xml)


def reset(after=0):
    """A fault that reads @after bytes of the body and resets the connection."""

    def do(handler):
        handler.rfile.read(after)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return True

    return do


def stall(seconds):
    """A fault that reads nothing and says nothing for a while."""

    def do(handler):
        handler.server.s3.stopping.wait(seconds)
        handler.close_connection = True
        return True

    return do


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def s3(self):
        return self.server.s3

    def log_message(self, *_):
        pass

    def handle_expect_100(self):
        return True  # answered in read_body(): a refusal must not wait for the body

    def do_CONNECT(self):
        """A proxy's tunnel, at whose other end we are too."""
        self.s3.tunnels.append(self.path)
        self.send_response_only(200, "Connection Established")
        self.end_headers()
        self.connection = self.s3.authority.context.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def do_PUT(self):
        self.body = None
        target = urllib.parse.urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers.get("host", ""), target.path,
                          dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True)),
                          headers, proxied=bool(target.scheme))
        self.raw_query = target.query
        self.request_line = request
        self.s3.requests.append(request)
        fault = self.s3.take_fault(request.action)
        if fault and fault.do(self):
            return
        try:
            self.answer(*self.s3.handle(self, request))
        except Refusal as refusal:
            self.answer(refusal.status, refusal.xml)
        if self.s3.closes_silently:
            self.close_connection = True

    do_POST = do_DELETE = do_PUT

    def read_body(self):
        if self.body is None:
            if self.headers.get("Expect", "").lower() == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
        return self.body

    def answer(self, status, body=b"", headers=None):
        self.request_line.status = status
        if self.body is None and int(self.headers.get("Content-Length", 0)) > 0:
            self.close_connection = True  # the body's bytes may still come
        self.send_response_only(status)
        for name, value in {"Date": self.date_time_string(), **(headers or {})}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection and not self.s3.closes_silently:
            self.send_header("Connection", "close")
        self.end_headers()
        if status != 204:
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients hang up


class StrictS3:
    """A running strict server with one bucket: `with StrictS3(tmp_path) as s3: …`.

    @token  a session token that every request must carry
    @tls    names that the server's certificate holds, for an https endpoint
    """

    access_key_id = "AKIDEXAMPLE"
    secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    def __init__(self, tmp_path, bucket=BUCKET, region="us-east-1", token=None, tls=None):
        self.bucket, self.region, self.token = bucket, region, token
        self.authority = Authority(tmp_path / "tls", tls) if tls else None
        self.requests, self.tunnels, self.faults = [], [], []
        self.objects, self.uploads, self.aborted = {}, {}, []
        self.closes_silently = False
        self.padding = b""  # sent before CompleteMultipartUpload's reply
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
        with self.lock:
            return getattr(self, request.action)(request, key, body)

    def resolve(self, request):
        """Bucket and key, of either style. Returns the key."""
        path = urllib.parse.unquote(request.path, errors="strict")
        host = request.host.partition(":")[0]
        if host == f"{self.bucket}.s3.{self.region}.amazonaws.com":
            return path[1:]
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
                if name in ("host", "content-type") or name.startswith("x-amz-")]
        if signed != sorted(signed) or set(signed) != set(must):
            raise Refusal(403, "AccessDenied", f"signed {signed} of {must}")
        when = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        if (abs((datetime.datetime.utcnow() - when).total_seconds()) > 900
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

    # What it does.

    def PutObject(self, request, key, body):
        self.objects[key] = body
        return 200, b"", {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}

    def DeleteObject(self, request, key, body):
        self.objects.pop(key, None)
        return 204, b"", {}

    def CreateMultipartUpload(self, request, key, body):
        upload_id = f"id {len(self.uploads)}/=&%<~.é"
        self.uploads[upload_id] = (key, {})
        return 200, (f'<?xml version="1.0" encoding="UTF-8"?>\n'
                     f'<InitiateMultipartUploadResult xmlns="{XMLNS}"><Bucket>{self.bucket}'
                     f"</Bucket><Key>{escape(key)}</Key><UploadId>{escape(upload_id)}</UploadId>"
                     "</InitiateMultipartUploadResult>").encode(), {}

    def upload_of(self, request, key):
        upload = self.uploads.get(request.query["uploadId"])
        if not upload or upload[0] != key:
            raise Refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload[1]

    def UploadPart(self, request, key, body):
        number = int(request.query["partNumber"])
        if not 1 <= number <= 10000:
            raise Refusal(400, "InvalidArgument", "Part number must be 1 to 10000.")
        etag = f'"{hashlib.md5(body).hexdigest()}&{number}"'
        self.upload_of(request, key)[number] = (etag, body)
        return 200, b"", {"ETag": etag}

    def CompleteMultipartUpload(self, request, key, body):
        parts = self.upload_of(request, key)
        listed = [(int(part.findtext(f"{{{XMLNS}}}PartNumber")), part.findtext(f"{{{XMLNS}}}ETag"))
                  for part in ET.fromstring(body)]
        if listed != [(number, parts[number][0]) for number in sorted(parts)]:
            raise Refusal(400, "InvalidPart", "One or more parts could not be found.")
        bodies = [parts[number][1] for number, _ in listed]
        if any(len(part) < 5 << 20 for part in bodies[:-1]):
            raise Refusal(400, "EntityTooSmall", "A part is smaller than the minimum.")
        self.objects[key] = b"".join(bodies)
        del self.uploads[request.query["uploadId"]]
        return 200, self.padding + (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<CompleteMultipartUploadResult '
            f'xmlns="{XMLNS}"><ETag>"x-{len(listed)}"</ETag></CompleteMultipartUploadResult>'
        ).encode(), {}

    def AbortMultipartUpload(self, request, key, body):
        self.upload_of(request, key)
        self.aborted.append(key)
        del self.uploads[request.query["uploadId"]]
        return 204, b"", {}


def blackhole():
    """A socket on 127.0.0.1 that takes no connection: its backlog is full. Returns it, with those
    that fill it, for the caller to keep alive."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = []
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        filler = socket.socket()
        filler.settimeout(0.3)
        try:
            filler.connect(listener.getsockname())
        except TimeoutError:
            return listener, fillers
        fillers.append(filler)
    raise RuntimeError("the backlog never filled")
