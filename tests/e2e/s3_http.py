"""How tests/e2e/s3_server.py speaks HTTP, and how it misbehaves."""

import dataclasses
import email.utils
import http.server
import socket
import ssl
import struct
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from xml.sax.saxutils import escape


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

    def __init__(self, status, code, message="", headers=None, **more):
        super().__init__(code)
        self.status, self.code, self.message, self.more = status, code, message, more
        self.headers = headers or {}

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
        if self.method == "GET":
            return "ListParts" if "uploadId" in self.query else "GetObject"
        if self.method == "HEAD":
            return "HeadObject"
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
        if after:
            handler.begin_body()
            handler.rfile.read(after)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()
        handler.close_connection = True
        return True

    return do


def stall(seconds, after=0):
    """A fault that reads no more than @after bytes of the body, and says nothing for a while."""

    def do(handler):
        if after:
            handler.begin_body()
            handler.rfile.read(after)
        handler.server.s3.stopping.wait(seconds)
        handler.close_connection = True
        return True

    return do


def lose_reply(handler):
    """A fault that does what is asked, and resets the connection instead of saying so."""
    handler.s3.handle(handler, handler.request_line)
    return reset()(handler)


def redirect_to(location):
    """A fault that is a 307."""
    return answer(307, Refusal(307, "TemporaryRedirect", "Please re-send this request to the "
                               "specified temporary endpoint.").xml, {"Location": location})


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
        if headers.get("user-agent", "").startswith("Boto"):
            fault = None  # it looks at what was sent
        else:
            self.s3.requests.append(request)
            fault = self.s3.take_fault(request.action)
        if fault and fault.do(self):
            return
        try:
            self.answer(*self.s3.handle(self, request))
        except Refusal as refusal:
            self.answer(refusal.status, refusal.xml, refusal.headers)
        if self.s3.closes_silently:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_DELETE = do_PUT

    def begin_body(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()

    def read_body(self):
        if self.body is None:
            self.begin_body()
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return self.body

    def answer(self, status, body=b"", headers=None):
        self.request_line.status = status
        if self.body is None and int(self.headers.get("Content-Length", 0)) > 0:
            self.close_connection = True  # the body's bytes may still come
        self.send_response_only(status)
        headers = {"Date": email.utils.format_datetime(self.s3.now(), usegmt=True),
                   **({} if status == 204 else {"Content-Length": str(len(body))}),
                   **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection and not self.s3.closes_silently:
            self.send_header("Connection", "close")
        self.end_headers()
        if status != 204 and self.command != "HEAD":
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients hang up


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
