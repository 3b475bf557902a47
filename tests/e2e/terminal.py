"""A pseudo terminal, and who types on it. Also tests/docker's."""

import os
import pty
import re
import select
import time

from environment import clean_environment


class Terminal:
    """coreinit in a session of its own on a pseudo terminal, as `docker run -it` starts it."""

    def __init__(self, *command, cwd="/", env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], list(map(str, command)), env or clean_environment())
        self.seen = ""

    def expect(self, pattern, timeout=20):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 4096).decode()
                except OSError:
                    break
        raise AssertionError((pattern, self.seen))

    def type(self, text):
        os.write(self.fd, text.encode())

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
