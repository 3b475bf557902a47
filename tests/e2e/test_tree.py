"""The rules of the design that a compiler doesn't hold: who may include whom, and what PID 1 links."""

import re
import subprocess

from conftest import BUILD, ROOT

ORDER = ["trace", "init", "capture", "bundle", "store", "ctl"]


def test_no_folder_includes_a_folder_further_down():
    wrong = []
    for path in (ROOT / "src").glob("*/*.[ch]"):
        layer = path.parent.name
        allowed = {"util"} if layer == "util" else {"util", *ORDER[: ORDER.index(layer) + 1]}
        for included in re.findall(r'^#include "(\w+)/', path.read_text(), re.M):
            if included not in allowed:
                wrong.append(f"{path.relative_to(ROOT)} includes {included}/")
    assert not wrong


def test_capture_takes_only_the_record_from_init():
    included = {name for path in (ROOT / "src").glob("[!i]*/*.[ch]")
                for name in re.findall(r'^#include "init/(\S+)"', path.read_text(), re.M)}
    assert included == {"crash_record.h"}


def test_pid_1_has_no_network_and_no_threads():
    symbols = subprocess.run(["nm", "-u", *(BUILD / "CMakeFiles").glob("*.dir/src/init/*.o"),
                              *(BUILD / "CMakeFiles").glob("*.dir/src/trace/*.o")],
                             capture_output=True, text=True, check=True).stdout
    assert "waitid" in symbols
    assert not re.search(r"\b(pthread_create|socket|connect|getaddrinfo|malloc|calloc|realloc|"
                         r"opendir|system|popen)\b", symbols)
