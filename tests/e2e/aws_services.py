"""AWS's services that give credentials and tell where one is, played by their documented protocols.

Each is an HTTP server that lets nothing pass which the real one would not: STS checks signatures,
the metadata service of EC2 speaks version 2 alone. `with Sts() as sts: …`.
"""

import contextlib
import ctypes
import dataclasses
import datetime
import fcntl
import http.server
import json
import os
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

import botocore.auth
import botocore.awsrequest
import botocore.credentials

HANG = "hang"  # instead of a reply
CLONE_NEWNET = 0x40000000


@dataclasses.dataclass
class Key:
    """A key that a service gives. Its secrets are unlike any other text."""

    id: str = dataclasses.field(default_factory=lambda: "ASIA" + secrets.token_hex(8).upper())
    secret: str = dataclasses.field(default_factory=lambda: "secret/" + secrets.token_hex(16))
    token: str = dataclasses.field(default_factory=lambda: "token+" + secrets.token_hex(32))
    seconds: int = 3600

    @property
    def expiration(self):
        now = datetime.datetime.now(datetime.timezone.utc)
        return (now + datetime.timedelta(seconds=self.seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret,
                "AWS_SESSION_TOKEN": self.token}

    def json(self, **more):
        return json.dumps({"AccessKeyId": self.id, "SecretAccessKey": self.secret,
                           "Token": self.token, "Expiration": self.expiration, **more}).encode()


@dataclasses.dataclass
class Request:
    method: str
    path: str
    headers: dict  # lower-case names
    body: bytes

    @property
    def form(self):
        return dict(urllib.parse.parse_qsl(self.body.decode(), strict_parsing=True))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        service = self.server.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(self.command, self.path, headers, body)
        service.requests.append(request)
        reply = service.next_fault() or service.handle(request)
        if reply is HANG:
            service.stopping.wait(120)
            self.close_connection = True
            return
        status, text = reply
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(text)))
        if 300 <= status < 400:
            self.send_header("Location", service.url + "/elsewhere")
        self.end_headers()
        with contextlib.suppress(OSError):  # a client that has had enough hangs up
            self.wfile.write(text)

    do_GET = do_PUT = do_POST = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass  # clients hang up


class Service:
    """@faults are replies, (status, body) or HANG, that come in place of the right ones; None lets
    one request pass."""

    def __init__(self, *keys, address="127.0.0.1", port=0):
        self.place = (address, port)
        self.keys = list(keys) or [Key()]
        self.requests, self.faults = [], []
        self.stopping = threading.Event()

    def __enter__(self):
        self.server = Server(self.place, Handler)
        self.server.service = self
        self.url = f"http://{self.place[0]}:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def wait_for_request(self):
        """Until somebody asks, or is being let wait."""
        deadline = time.monotonic() + 60
        while not self.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.requests, "nobody asked"

    def next_fault(self):
        return self.faults.pop(0) if self.faults else None

    def next_key(self):
        """The keys one after the other; the last one for ever."""
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


@dataclasses.dataclass
class Role:
    """A role, and what has to be shown for it."""

    by: Key | None = None  # AssumeRole
    external_id: str | None = None
    web_token: str | None = None  # AssumeRoleWithWebIdentity


class Sts(Service):
    """AWS Security Token Service API Reference: AssumeRole, AssumeRoleWithWebIdentity."""

    def __init__(self, *keys, region="us-east-1", **roles):
        super().__init__(*keys)
        self.region = region
        self.roles = {self.arn(name): role for name, role in roles.items()}

    @staticmethod
    def arn(name):
        return f"arn:aws:iam::123456789012:role/{name}"

    @property
    def env(self):
        return {"AWS_ENDPOINT_URL_STS": self.url}

    @staticmethod
    def refusal(status, code, message="Not authorized"):
        return status, (f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
                        f"<Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}"
                        "</Message></Error><RequestId>1</RequestId></ErrorResponse>").encode()

    def handle(self, request):
        form = request.form
        role = self.roles.get(form.get("RoleArn"))
        if request.method != "POST" or request.path != "/" or form.get("Version") != "2011-06-15":
            return self.refusal(400, "InvalidAction")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", form.get("RoleSessionName", "")):
            return self.refusal(400, "ValidationError", "roleSessionName")
        if form["Action"] == "AssumeRoleWithWebIdentity":
            refused = self.check_web_identity(request, role)
        else:
            refused = self.check_signature(request, role)
        return refused or (200, self.answer(form["Action"]))

    def check_web_identity(self, request, role):
        if "authorization" in request.headers:
            return self.refusal(400, "ValidationError", "this action isn't signed")
        if not role or not role.web_token:
            return self.refusal(403, "AccessDenied")
        if request.form["WebIdentityToken"] != role.web_token:
            return self.refusal(400, "InvalidIdentityToken", "Incorrect token audience")
        return None

    def check_signature(self, request, role):
        headers = request.headers
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/sts/aws4_request, "
            r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})",
            headers.get("authorization", ""))
        if not match:
            return self.refusal(403, "MissingAuthenticationToken")
        key_id, region, signed, signature = match.groups()
        if not role or not role.by or key_id != role.by.id:
            return self.refusal(403, "InvalidClientTokenId")
        if headers.get("x-amz-security-token", "") != role.by.token or region != self.region:
            return self.refusal(403, "InvalidClientTokenId", "token or region")
        auth = botocore.auth.SigV4Auth(
            botocore.credentials.Credentials(role.by.id, role.by.secret), "sts", self.region)
        again = botocore.awsrequest.AWSRequest(
            method="POST", url=f"http://{headers['host']}{request.path}", data=request.body,
            headers={name: headers[name] for name in signed.split(";")})
        again.context["timestamp"] = headers["x-amz-date"]
        text = auth.string_to_sign(again, auth.canonical_request(again))
        if signature != auth.signature(text, again):
            return self.refusal(403, "SignatureDoesNotMatch")
        if request.form.get("ExternalId") != role.external_id:
            return self.refusal(403, "AccessDenied", "external id")
        return None

    def answer(self, action):
        key = self.next_key()
        return (f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
                f"<{action}Result><AssumedRoleUser><Arn>arn:x</Arn><AssumedRoleId>A:x"
                f"</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{key.id}"
                f"</AccessKeyId><SecretAccessKey>{key.secret}</SecretAccessKey><SessionToken>"
                f"{escape(key.token)}</SessionToken><Expiration>{key.expiration}</Expiration>"
                f"</Credentials></{action}Result><ResponseMetadata><RequestId>1</RequestId>"
                f"</ResponseMetadata></{action}Response>").encode()


class EcsCredentials(Service):
    """Amazon ECS Developer Guide, "Task IAM role": the agent's credential endpoint."""

    path = "/v2/credentials/8c1a8e31-5b4b-4d36-9c6e-8f1b8a9a5a51"

    def handle(self, request):
        if request.path != self.path:
            return 400, (b'{"code":"InvalidIdInRequest","message":"CredentialsV2Request: Credentials'
                         b' not found","HTTPErrorCode":400}')
        return 200, self.next_key().json(RoleArn=Sts.arn("task"))


class PodIdentity(Service):
    """Amazon EKS User Guide, "Learn how EKS Pod Identity works": the agent's endpoint."""

    path = "/v1/credentials"

    def __init__(self, *keys, **kwargs):
        super().__init__(*keys, **kwargs)
        self.token = "eyJ" + secrets.token_hex(64)

    @property
    def env(self):
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url + self.path}

    def handle(self, request):
        if request.path != self.path:
            return 404, b"404 page not found\n"
        if request.headers.get("authorization") != self.token:
            return 401, b'{"code":"AccessDeniedException","message":"Unauthorized Exception! EKS"}'
        return 200, self.next_key().json(AccountId="123456789012")


class Imds(Service):
    """Amazon EC2 User Guide, "Use the Instance Metadata Service": version 2, and nothing else."""

    root = "/latest/meta-data"

    def __init__(self, *keys, role="web-server", **kwargs):
        super().__init__(*keys, **kwargs)
        self.role = role
        self.tokens = []
        self.values = {"/placement/region": b"eu-west-1",
                       "/instance-id": b"i-0123456789abcdef0"}

    @property
    def env(self):
        return {"AWS_EC2_METADATA_DISABLED": "false",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
                "AWS_METADATA_SERVICE_TIMEOUT": "30"}  # a busy machine is none that says nothing

    def handle(self, request):
        if request.path == "/latest/api/token":
            return self.make_token(request)
        if request.method != "GET":
            return 405, b""
        if request.headers.get("x-aws-ec2-metadata-token") not in self.tokens:
            return 401, b""
        return self.find(request.path)

    def make_token(self, request):
        seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if request.method != "PUT" or "x-forwarded-for" in request.headers:
            return 403, b""
        if not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
            return 400, b""
        self.tokens.append("AQAEA" + secrets.token_urlsafe(38) + "==")
        return 200, self.tokens[-1].encode()

    def find(self, path):
        folder = self.root + "/iam/security-credentials/"
        if self.role and path == folder:
            return 200, self.role.encode()
        if self.role and path == folder + self.role:
            return 200, self.next_key().json(Code="Success", Type="AWS-HMAC",
                                             LastUpdated="2026-11-21T18:51:02Z")
        value = self.values.get(path.removeprefix(self.root))
        return (200, value) if value else (404, b"<html>404 - Not Found</html>")


class EcsMetadata(Service):
    """Amazon ECS Developer Guide, "Amazon ECS task metadata endpoint version 4"."""

    path = "/v4/d0bd01ee8d4e4b9b95e6a7d1b43f4ef4-1234567890"

    container = {
        "DockerId": "d0bd01ee8d4e4b9b95e6a7d1b43f4ef4-1234567890",
        "Name": "fluent-bit",
        "DockerName": "fluent-bit",
        "Image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/fluent-bit:4.2",
        "ImageID": "sha256:" + "5c" * 32,
        "Labels": {"com.amazonaws.ecs.cluster": "prod"},
        "DesiredStatus": "RUNNING",
        "Limits": {"CPU": 2},
    }
    task = {
        "Cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/prod",
        "TaskARN": "arn:aws:ecs:eu-west-1:123456789012:task/prod/d0bd01ee8d4e4b9b95e6a7d1b43f4ef4",
        "Family": "fluent-bit",
        "Revision": "7",
        "Containers": [container],
        "AvailabilityZone": "eu-west-1a",
    }

    @property
    def env(self):
        return {"ECS_CONTAINER_METADATA_URI_V4": self.url + self.path}

    def handle(self, request):
        documents = {self.path: self.container, self.path + "/task": self.task}
        if request.path not in documents:
            return 404, b"404 page not found\n"
        return 200, json.dumps(documents[request.path]).encode()


def add_loopback_address(number, address):
    """What `ip address add` does; its package need not be there. netdevice(7)"""
    set_address, set_netmask, get_flags, set_flags = 0x8916, 0x891C, 0x8913, 0x8914
    name = f"lo:{number}".encode() if number else b"lo"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, value in ((set_address, address), (set_netmask, "255.255.255.255")):
            if number:
                fcntl.ioctl(control, request, struct.pack(
                    "16sH2x4s8x", name, socket.AF_INET, socket.inet_aton(value)))
        flags = struct.unpack("16sH", fcntl.ioctl(control, get_flags,
                                                  struct.pack("16sH14x", name, 0))[:18])[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sH14x", name, flags | 1))


@contextlib.contextmanager
def own_network(*addresses):
    """A network namespace for this thread, and whatever it starts, that has these addresses alone
    (and 127.0.0.1): link-local ones, which mean what they mean to a container."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            for number, address in enumerate(("127.0.0.1", *addresses)):
                add_loopback_address(number, address)
            yield
        finally:
            if libc.setns(before, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)
