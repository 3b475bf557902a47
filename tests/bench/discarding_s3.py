"""An S3 server that checks what it is sent, and forgets it: `discarding_s3.py` prints its port.

Of each body it checks the SHA-256 that was signed and the CRC-32 (S3_CHECKSUM=crc32), of each upload that no part is
missing; signatures it leaves alone. At its end (a closed standard input) it prints the number of bytes and of parts.
"""

import base64
import hashlib
import http.server
import re
import sys
import threading
import urllib.parse
import zlib

PIECE = 1 << 20


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def take_body(self):
        """Reads and forgets it; returns its size and CRC-32, base64."""
        left = int(self.headers["Content-Length"])
        size, crc, digest = left, 0, hashlib.sha256()
        while left > 0:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("a body was cut")
            left -= len(piece)
            crc = zlib.crc32(piece, crc)
            digest.update(piece)
        text = base64.b64encode(crc.to_bytes(4, "big")).decode()
        assert self.headers["x-amz-content-sha256"] == digest.hexdigest(), "wrong SHA-256"
        assert self.headers["x-amz-checksum-crc32"] == text, "wrong CRC-32"
        return size, text

    def do_PUT(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        size, crc = self.take_body()
        with self.server.lock:
            self.server.bytes += size
            if "uploadId" in query:
                self.server.parts += 1
                self.server.uploads[query["uploadId"]][int(query["partNumber"])] = crc
            else:
                self.server.objects[urllib.parse.urlsplit(self.path).path] = crc
        self.answer(200, headers=[("ETag", f'"{crc}"'), ("x-amz-checksum-crc32", crc)])

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if "uploads" in query:
            upload = f"upload{len(self.server.uploads)}"
            self.server.uploads[upload] = {}
            self.answer(200, f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                             "</InitiateMultipartUploadResult>".encode(),
                        [("x-amz-checksum-algorithm", "CRC32"), ("x-amz-checksum-type", "COMPOSITE")])
            return
        parts = self.server.uploads[query["uploadId"]]
        named = [int(number) for number in re.findall(rb"<PartNumber>(\d+)<", body)]
        assert named == sorted(parts) == list(range(1, len(parts) + 1)), "parts are missing"
        sums = b"".join(base64.b64decode(parts[number]) for number in named)
        crc = base64.b64encode(zlib.crc32(sums).to_bytes(4, "big")).decode() + f"-{len(named)}"
        self.server.objects[url.path] = crc
        self.answer(200, f'<CompleteMultipartUploadResult><ETag>"{crc}"</ETag><ChecksumCRC32>{crc}</ChecksumCRC32>'
                         "<ChecksumType>COMPOSITE</ChecksumType></CompleteMultipartUploadResult>".encode())

    def do_HEAD(self):
        crc = self.server.objects.get(urllib.parse.urlsplit(self.path).path)
        self.answer(200 if crc else 404, headers=[("x-amz-checksum-crc32", crc)] if crc else [])

    def do_DELETE(self):
        self.answer(204)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lock = threading.Lock()
    server.bytes = server.parts = 0
    server.uploads, server.objects = {}, {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    print(server.bytes, server.parts, len(server.objects), flush=True)


main()
