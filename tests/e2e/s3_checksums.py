"""The checksums that S3 knows, computed by nothing of ours."""

import base64
import ctypes
import functools
import os
import pathlib
import zlib

TESTS = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("COREINIT_BUILD", TESTS.parent / "build"))


@functools.cache
def reflected_crc():
    function = ctypes.CDLL(BUILD / "tests/libchecksums.so").reflected_crc
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_size_t]
    return function


def crc64nvme(data):
    value = reflected_crc()(0x9a6c9329ac4bc9b5, (1 << 64) - 1, data, len(data))
    return value.to_bytes(8, "big")


def crc32c(data):
    return reflected_crc()(0x82f63b78, (1 << 32) - 1, data, len(data)).to_bytes(4, "big")


def crc32(data):
    return zlib.crc32(data).to_bytes(4, "big")


CHECKSUMS = {"CRC64NVME": crc64nvme, "CRC32C": crc32c, "CRC32": crc32}


def base64_of(data):
    return base64.b64encode(data).decode()


def decoded(text):
    return base64.b64decode(text)
