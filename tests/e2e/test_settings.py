"""Option over environment over ini over default; bad input is one clear line; the banner."""

import re
import shutil
import subprocess

import pytest

from conftest import COREINIT, SANITIZED


def banner(result):
    lines = [line for line in result.stderr.splitlines() if "coreinit: notice: coreinit " in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_option_goes_over_environment_over_ini_over_default(run, tmp_path):
    ini = tmp_path / "coreinit.ini"
    ini.write_text("cores_dir = /from-ini\n")

    def cores_dir(*options, **env):
        return re.search(r"cores dir (\S+),", banner(run(*options, "--", "true", env=env)))[1]

    unset = {"COREINIT_CORES_DIR": ""}
    assert cores_dir(**unset) == "/cores"
    assert cores_dir("--config", ini, **unset) == "/from-ini"
    assert cores_dir(COREINIT_CONFIG=ini, **unset) == "/from-ini"
    assert cores_dir("--config", ini, COREINIT_CORES_DIR="/from-env") == "/from-env"
    assert cores_dir("--config", ini, "--cores-dir", "/from-option",
                     COREINIT_CORES_DIR="/from-env") == "/from-option"
    assert cores_dir("--cores-dir=/a", "--cores-dir=/b") == "/b"


def test_ini_holds_every_key(run, tmp_path):
    ini = tmp_path / "coreinit.ini"
    ini.write_text("; a comment\ncores_dir=/ini-cores\ncapture = kernel\ncollect_timeout = 30\n\n"
                   "[s3]\nbucket = crashes\nkey_prefix = team-a/fluent-bit\nregion = eu-west-1\n"
                   "endpoint = http://127.0.0.1:1\n")
    result = run("--config", ini, "--", "true", env={"COREINIT_CORES_DIR": "", "RUN_ID": "r1"})
    assert result.returncode == 0
    line = banner(result)
    assert "capture kernel" in line and "cores dir /ini-cores," in line
    assert "destination s3://crashes/team-a/fluent-bit, RUN_ID r1" in line


@pytest.mark.parametrize("text, words", [
    ("cores_dri = /x\n", "unknown key 'cores_dri' in section []"),
    ("[s4]\nbucket = b\n", "unknown key 'bucket' in section [s4]"),
    ("capture = perhaps\n", "capture = 'perhaps' is none of"),
    ("collect_timeout = -1\n", "collect_timeout = '-1' is not a number of seconds"),
    ("collect_timeout = 1e9\n", "is not a number of seconds"),
    ("cores_dir = relative\n", "is not an absolute path"),
    ("on_crash = reboot\n", "on_crash = 'reboot' is none of exit, restart, linger"),
    ("max_use = lots\n", "max_use = 'lots' is not a number of bytes"),
    ("[s3]\nsse = none\n", "sse = 'none' is none of AES256, aws:kms, aws:kms:dsse"),
    ("[s3]\nsse_kms_key_id = k\n", "S3_SSE_KMS_KEY_ID goes with S3_SSE=aws:kms"),
    ("cores_dir\n", ":1: neither a [section] nor KEY = VALUE"),
    ("[s3]\nbucket = b\ngarbage\n", ":3: neither a [section] nor KEY = VALUE"),
    ("cores_dir = /" + "x" * 5000 + "\n", ":1: the line is too long or binary"),
    ("[s3]\nbucket = " + "b" * 150 + "\nkey_prefix = " + "p" * 300 + "\n", ":3: the line is too long or binary"),
    ("\0\0\0\n", ":1: the line is too long or binary"),
])
def test_a_bad_ini_is_told_and_nothing_is_started(run, tmp_path, text, words):
    ini = tmp_path / "coreinit.ini"
    ini.write_text(text)
    result = run("--config", ini, "--", "echo", "started", env={"COREINIT_CORES_DIR": ""})
    assert result.returncode == 1 and result.stdout == ""
    assert words in result.stderr
    assert result.stderr.splitlines()[-1].startswith("usage: coreinit")


def test_a_config_that_was_asked_for_must_be_there(run):
    result = run("--config", "/nonexistent.ini", "--", "true")
    assert result.returncode == 1
    assert "cannot read /nonexistent.ini: No such file or directory" in result.stderr


@pytest.mark.parametrize("env, words", [
    ({"COREINIT_CAPTURE": "maybe"}, "COREINIT_CAPTURE='maybe' is none of"),
    ({"COREINIT_COLLECT_TIMEOUT": "soon"}, "COREINIT_COLLECT_TIMEOUT='soon' is not a number"),
    ({"COREINIT_CORES_DIR": "cores"}, "COREINIT_CORES_DIR='cores' is not an absolute path"),
    ({"S3_KEY_PREFIX": "p" * 1025}, "is too long"),
    ({"RUN_ID": "r" * 128}, "is too long"),
    ({"COREINIT_RESTART_LIMIT": "-1"}, "COREINIT_RESTART_LIMIT='-1' is not a number of restarts"),
    ({"COREINIT_LINGER_MINUTES": "1h"}, "COREINIT_LINGER_MINUTES='1h' is not a number of minutes"),
    ({"COREINIT_REPORT": "all"}, "COREINIT_REPORT='all' is none of crashes, exits"),
    ({"COREINIT_STOP_TIMEOUT": "30s"}, "COREINIT_STOP_TIMEOUT='30s' is not a number of seconds"),
    ({"COREINIT_KEEP_LOCAL": "no"}, "COREINIT_KEEP_LOCAL='no' is none of always, until-sent, never"),
    ({"COREINIT_KEEP_FREE": "10%"}, "COREINIT_KEEP_FREE='10%' is not a number of bytes"),
    ({"COREINIT_MAX_FILES": "many"}, "COREINIT_MAX_FILES='many' is not a number of files"),
    ({"COREINIT_UPLOAD_RATE": "1MB/s"}, "COREINIT_UPLOAD_RATE='1MB/s' is not a number of bytes"),
    ({"S3_STORAGE_CLASS": "a b"}, "S3_STORAGE_CLASS='a b' is no storage class"),
    ({"S3_TAGS": "team"}, "S3_TAGS='team' is not KEY=VALUE&KEY=VALUE"),
    ({"S3_EXPECTED_BUCKET_OWNER": "me"}, "S3_EXPECTED_BUCKET_OWNER='me' is not an account's 12 digits"),
    ({"S3_REQUEST_PAYER": "you"}, "S3_REQUEST_PAYER='you' is not requester"),
    ({"S3_CHECKSUM": "sha1"}, "S3_CHECKSUM='sha1' is none of auto, crc64nvme, crc32c, crc32, md5"),
    ({"S3_ALLOW_HTTP": "true"}, "S3_ALLOW_HTTP='true' is none of yes, no"),
])
def test_a_bad_variable_is_told_and_nothing_is_started(run, env, words):
    result = run("--", "echo", "started", env=env)
    assert result.returncode == 1 and result.stdout == ""
    assert words in result.stderr


def explained(result):
    return dict(line.split(": ", 1) for line in result.stdout.splitlines())


def test_every_setting_is_explained_as_it_was_set(run, tmp_path):
    ini = tmp_path / "coreinit.ini"
    ini.write_text("on_crash = restart\nrestart_limit = 3\nlinger_minutes = 5\nreport = exits\n"
                   "stop_timeout = 120\nkeep_local = until-sent\nmax_use = 10G\nkeep_free = 1M\n"
                   "max_files = 20\nupload_rate = 512k\ncores_dir = none\n"
                   "[s3]\nbucket = b\nsse = aws:kms\nsse_kms_key_id = alias/a\n"
                   "storage_class = STANDARD_IA\ntags = team=a&kind=crash\n"
                   "expected_bucket_owner = 123456789012\nrequest_payer = requester\n"
                   "checksum = crc32c\nallow_http = yes\n")
    told = explained(run("--explain", "--config", ini, "true", env={"COREINIT_CORES_DIR": ""}))
    expected = {
        "on_crash": "restart", "restart_limit": "3", "linger_minutes": "5", "report": "exits",
        "stop_timeout": "120", "keep_local": "until-sent", "max_use": str(10 << 30),
        "keep_free": str(1 << 20), "max_files": "20", "upload_rate": str(512 << 10),
        "cores_dir": "", "bucket": "b", "sse": "aws:kms", "sse_kms_key_id": "alias/a",
        "storage_class": "STANDARD_IA", "tags": "team=a&kind=crash",
        "expected_bucket_owner": "123456789012", "request_payer": "requester",
        "checksum": "crc32c", "allow_http": "yes"}
    assert {key: told[key] for key in expected} == expected

    told = explained(run("--explain", "--config", ini, "--on-crash", "linger", "--max-use=1T", "true",
                         env={"COREINIT_ON_CRASH": "exit", "COREINIT_KEEP_LOCAL": "never"}))
    assert (told["on_crash"], told["max_use"], told["keep_local"]) == ("linger", str(1 << 40), "never")


def test_defaults_lose_nothing(run):
    told = explained(run("--explain", "true"))
    expected = {"on_crash": "exit", "restart_limit": "10", "linger_minutes": "60",
                "report": "crashes", "stop_timeout": "30", "keep_local": "always", "max_use": "0",
                "keep_free": "0", "max_files": "0", "upload_rate": "0", "checksum": "auto",
                "allow_http": "no", "sse": "", "tags": ""}
    assert {key: told[key] for key in expected} == expected


def test_without_a_cores_dir_it_says_where_bundles_go(run):
    result = run("--cores-dir", "none", "--", "true", env={"S3_BUCKET": "b", "S3_KEY_PREFIX": "t/x"})
    assert "cores dir none, destination s3://b/t/x" in banner(result)
    assert "warning" not in result.stderr
    result = run("--cores-dir", "none", "--", "true")
    assert "cores dir none, destination nowhere" in banner(result)
    assert "a crash will leave no bundle: there is no cores dir, and S3_BUCKET isn't set" in result.stderr


def test_the_banner_tells_what_is_done_after_a_crash(run):
    assert banner(run("--on-crash", "linger", "--", "true")).endswith(", on crash linger")


def test_an_empty_variable_is_an_unset_one(run):
    result = run("--", "true", env={"COREINIT_CAPTURE": "", "S3_KEY_PREFIX": "", "S3_BUCKET": "b",
                                    "RUN_ID": ""})
    assert "destination s3://b/issue, RUN_ID " in banner(result)


def test_the_banner_tells_mode_and_why_and_hints(run):
    result = run("--", "true", env={"RUN_ID": "r7"})
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"coreinit: notice: coreinit \d+\.\d+\.\d+: capture kernel \(core_pattern "
                        r"'core' is a file in the working directory, core limit unlimited\), cores "
                        rf"dir {run.cores}, destination the cores dir only, RUN_ID r7", lines[0])
    assert "S3_BUCKET is not set" in lines[1]

    lines = run("--", "true", env={"S3_BUCKET": "b"}).stderr.splitlines()
    assert len(lines) == 2 and "S3_KEY_PREFIX is 'issue'" in lines[1]
    lines = run("--", "true", env={"S3_BUCKET": "b", "S3_KEY_PREFIX": "t/x"}).stderr.splitlines()
    assert len(lines) == 1
    for quiet in ("-q", "--quiet"):
        assert run(quiet, "--", "true").stderr == ""


def test_run_id_is_random_unless_given(run):
    ids = {re.search(r"RUN_ID (\w+)", run("--", "true").stderr)[1] for _ in range(5)}
    assert len(ids) == 5


AS_USER = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
NO_CORE = ["prlimit", "--core=0:0", *AS_USER]


def test_a_missing_core_is_told_before_the_crash(run_for_all):
    run = run_for_all
    kernel = ("--capture", "kernel", "--", "true")
    result = run(*kernel, wrapper=NO_CORE, pid1=False, cwd="/tmp")
    assert "warning: a crash will give no core: the hard core limit is 0 bytes; mend: " in result.stderr

    result = run(*kernel, wrapper=AS_USER, pid1=False, cwd="/etc")
    assert "points at /etc, where nothing can be written" in result.stderr


def test_where_the_kernel_gives_no_core_the_program_is_traced(run_for_all):
    run = run_for_all
    for wrapper, cwd, why in ((NO_CORE, "/tmp", "the hard core limit is 0 bytes"),
                              (AS_USER, "/etc", "core_pattern 'core' points at /etc, where nothing")):
        result = run("--", "grep", "TracerPid", "/proc/self/status", wrapper=wrapper, pid1=False,
                     cwd=cwd)
        assert f"capture ptrace ({why}" in result.stderr
        assert "warning" not in result.stderr
        assert int(result.stdout.split()[1]) > 0


def test_what_is_traced_is_the_options_word(run):
    result = run("--capture", "ptrace", "--", "grep", "TracerPid", "/proc/self/status")
    assert "capture ptrace (as asked)" in result.stderr
    assert int(result.stdout.split()[1]) == 1
    for mode in ("auto", "kernel", "off"):
        result = run("--capture", mode, "--", "grep", "TracerPid", "/proc/self/status")
        assert int(result.stdout.split()[1]) == 0
    assert "is none of auto, kernel, ptrace, off" in run("--capture", "all", "--", "true").stderr


def test_where_tracing_is_refused_the_kernel_captures(run):
    """As seccomp, Yama and another tracer refuse it."""
    traced = ["strace", "-f", "-qq", "-e", "trace=none", "-o", "/dev/null"]
    result = run("--capture", "ptrace", "--", "sh", "-c", "exit 4", wrapper=traced, pid1=False,
                 env={"ASAN_OPTIONS": "detect_leaks=0"}) # which is a tracer too
    assert result.returncode == 4
    assert "capture kernel (core_pattern 'core' is a file" in result.stderr
    assert "warning: not traced: ptrace is refused (Operation not permitted" in result.stderr


def test_a_set_uid_program_keeps_what_it_gains(run_for_all):
    """Tracing would take it: the program goes before its core."""
    run = run_for_all
    program = run.coreinit.parent / "set-uid"
    shutil.copy(shutil.which("id"), program)
    program.chmod(0o4755)
    result = run("--capture", "ptrace", "--", program, "-u", wrapper=AS_USER, pid1=False, cwd="/tmp")
    assert result.stdout == "0\n"
    assert "set-uid is set-uid or has file capabilities" in result.stderr
    assert "capture kernel" in result.stderr

    result = run("--capture", "ptrace", "--", "sh", "-c", f"{program} -u; true", wrapper=AS_USER,
                 pid1=False, cwd="/tmp")
    assert result.stdout == "1000\n"
    assert "executed a set-uid or set-gid program, which gains nothing while it is traced" in result.stderr


def test_off_is_a_plain_init(run):
    result = run("--capture", "off", "--", "sh", "-c", "kill -ABRT $$")
    assert result.returncode == 134
    assert "capture off (as asked)" in result.stderr
    assert not run.cores.exists()


@pytest.mark.skipif(SANITIZED, reason="the sanitizers have no static runtime")
def test_coreinit_is_one_static_file():
    headers = subprocess.run(["readelf", "-ldW", COREINIT], capture_output=True, text=True).stdout
    assert "GNU_RELRO" in headers and "INTERP" not in headers and "NEEDED" not in headers
