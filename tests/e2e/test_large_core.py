"""A core that is larger than memory should be: it streams, in bounded memory."""

import resource
import shutil
import subprocess

import pytest

from conftest import CRASH, SANITIZED

MEMORY_KIB = 64 << 10


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's shadow is memory too")
def test_a_sparse_core_of_5_gib_goes_through_in_bounded_memory(run, without_gdb, tmp_path):
    """Without gdb, whose memory is its own affair."""
    assert shutil.disk_usage(tmp_path).free > 1 << 30
    result, bundle = run.crash("--", CRASH, "big-sparse", str(5 << 30), env={"PATH": without_gdb})
    # Of all descendants that were waited for, coreinit and corectl among them.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert result.returncode == 139
    assert peak < MEMORY_KIB, f"{peak} KiB"
    assert bundle.core_entry().file_size > 5 << 30
    assert bundle.path(".core.zip").stat().st_size < 100 << 20
    for command in (["unzip", "-tq"], ["bsdtar", "-tf"],
                    ["/usr/bin/python3", "-m", "zipfile", "-t"]):
        subprocess.run([*command, bundle.path(".core.zip")], check=True, stdout=subprocess.DEVNULL)
