"""A Fluent Bit under load on the loopback: JSON lines over TCP, three filters, and two output
workers that post to an HTTP server which counts what arrives."""

import json
import pathlib
import socket
import tempfile
import threading
import time

CONFIG = """\
[SERVICE]
    flush 0.2
    grace 1
    log_level warn
    parsers_file {directory}/parsers.conf
[INPUT]
    name tcp
    listen 127.0.0.1
    port {port}
    format json
    tag bench
[FILTER]
    name parser
    match *
    key_name log
    parser json
    reserve_data on
[FILTER]
    name grep
    match *
    regex message ^GET .* 200$
[FILTER]
    name modify
    match *
    rename level severity
    add cluster bench
[OUTPUT]
    name http
    match *
    host 127.0.0.1
    port {sink}
    format json_lines
    workers 2
"""

PARSERS = """\
[PARSER]
    name json
    format json
"""

# Every record that passes has it once.
MARK = b'"sequence":'

BATCH = 1000


def record(sequence):
    log = {"level": "info", "sequence": sequence, "user": f"user-{sequence % 97}",
           "message": f"GET /items/{sequence}?page={sequence % 13} 200"}
    return json.dumps({"log": json.dumps(log), "stream": "stdout", "pod": "web-5d4f8c7b9-x2x7k"})


class Sink:
    """An HTTP server that counts records."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.changed = threading.Condition()
        self.received = 0
        self.last = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # shut down
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while stream.readline():
                    size = 0
                    while (line := stream.readline()) not in (b"\r\n", b""):
                        name, _, value = line.partition(b":")
                        if name.lower() == b"content-length":
                            size = int(value)
                    count = stream.read(size).count(MARK)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    with self.changed:
                        self.received += count
                        self.last = time.monotonic()
                        self.changed.notify_all()
            except ConnectionError:
                return

    def expect(self, count, timeout):
        """Waits until that many have come in all; returns when the last did (monotonic seconds)."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.received >= count, timeout):
                raise SystemExit(f"only {self.received} of {count} records arrived")
            return self.last


class Load:
    """Makes the configuration; each run() drives one Fluent Bit that was started with `command`."""

    def __init__(self, fluent_bit, records):
        self.batches = -(-records // BATCH)
        self.batch = "".join(record(i) + "\n" for i in range(BATCH)).encode()
        self.directory = tempfile.TemporaryDirectory()
        self.sink = Sink()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        directory = pathlib.Path(self.directory.name)
        (directory / "parsers.conf").write_text(PARSERS)
        config = directory / "fluent-bit.conf"
        config.write_text(CONFIG.format(directory=directory, port=self.port, sink=self.sink.port))
        self.command = [fluent_bit, "-q", "-c", config]

    def connect(self):
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self.port))
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise SystemExit("Fluent Bit does not listen")

    def run(self, timeout=300):
        """Sends all records; returns seconds from the first sent to the last received."""
        expected = self.sink.received + self.batches * BATCH
        with self.connect() as connection:
            start = time.monotonic()
            for _ in range(self.batches):
                connection.sendall(self.batch)
            return self.sink.expect(expected, timeout) - start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sink.listener.shutdown(socket.SHUT_RDWR)  # which wakes accept(), as closing doesn't
        self.sink.listener.close()
        self.directory.cleanup()
