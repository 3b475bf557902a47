"""corectl doctor outside of containers: what it says of the bucket, the cores dir and processes."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import time

import jsonschema
import pytest
from bundle import bundles
from conftest import CORECTL, COREINIT, CRASH, clean_environment
from doctor import SCHEMA, Told
from s3_server import BUCKET, StrictS3, answer, blackhole, error


class Doctor:
    """Runs corectl doctor with a cores dir of its own."""

    def __init__(self, tmp_path):
        self.cores = tmp_path / "cores"
        self.cores.mkdir()
        self.cwd = tmp_path

    def run(self, *words, env=None, wrapper=(), **kwargs):
        env = clean_environment(**{"COREINIT_CORES_DIR": self.cores, **(env or {})})
        return subprocess.run([*map(str, wrapper), CORECTL, "doctor", *map(str, words)], env=env,
                              cwd=self.cwd, capture_output=True, text=True, timeout=120, **kwargs)

    def told(self, *words, **kwargs):
        return Told(self.run("--json", *words, **kwargs))

    def predicted(self, *words, **kwargs):
        """For a coreinit that would trace, whatever this machine's core_pattern is."""
        return self.told("--", "--capture", "ptrace", *words, CRASH, **kwargs)


@pytest.fixture
def doctor(tmp_path):
    return Doctor(tmp_path)


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as server:
        yield server


# The bucket


def test_a_probe_object_is_written_and_removed(doctor, s3):
    told = doctor.predicted(env={**s3.env, "S3_KEY_PREFIX": "team/fb"})
    assert told.verdict["ok"], told.failed
    assert told.verdict["destination"] == f"s3://{BUCKET}/team/fb"
    assert s3.actions == ["PutObject", "CreateMultipartUpload", "UploadPart",
                          "CompleteMultipartUpload", "DeleteObject"]
    key = s3.requests[0].path.removeprefix(f"/{BUCKET}/")
    assert key.startswith("team/fb/doctor-probe_") and not s3.objects
    assert told.finding("credentials") == "those of the environment"
    assert told.finding("bucket").endswith("an object was sent and removed")
    assert told.checks["clock"]["state"] == "ok"


def test_credentials_that_may_not_delete_are_well(doctor, s3):
    s3.fail(error(403, "AccessDenied", "Access Denied"), action="DeleteObject")
    told = doctor.predicted(env=s3.env)
    (key,) = s3.objects
    assert told.verdict["ok"] and told.checks["bucket"]["state"] == "ok"
    assert key in told.finding("bucket") and "AccessDenied" in told.finding("bucket")


def test_where_credentials_were_found_is_told_and_their_values_never(doctor, s3, tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"[deep]\naws_access_key_id = {s3.access_key_id}\n"
                    f"aws_secret_access_key = {s3.secret_access_key}\n")
    env = {**s3.env, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_PROFILE": "deep",
           "AWS_SHARED_CREDENTIALS_FILE": file}
    result = doctor.run("--", "--capture", "ptrace", CRASH, env=env)
    assert result.returncode == 0, result.stdout
    said = result.stdout + result.stderr
    assert f"those of profile deep of {file}" in " ".join(said.split())
    assert s3.secret_access_key not in said and s3.access_key_id not in said


@pytest.mark.parametrize("env, check, words", [
    ({"AWS_ACCESS_KEY_ID": "", "HOME": "/nonexistent"}, "credentials", "no AWS credentials"),
    ({"AWS_SECRET_ACCESS_KEY": ""}, "credentials", "AWS_SECRET_ACCESS_KEY"),
    ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "bucket", "SignatureDoesNotMatch"),
    ({"AWS_ACCESS_KEY_ID": "wrong"}, "bucket", "InvalidAccessKeyId"),
    ({"S3_BUCKET": "nobody"}, "bucket", "NoSuchBucket"),
    ({"S3_BUCKET": "s3://crashes/x"}, "bucket", "S3_BUCKET must be a bucket's name alone"),
    ({"AWS_ENDPOINT_URL_S3": "ftp://host"}, "bucket", "the S3 endpoint must look like"),
    ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, "bucket", "check the endpoint"),
], ids=lambda value: next(iter(value.items())).__str__() if isinstance(value, dict) else "")
def test_what_bars_the_bucket_is_told_in_the_servers_words(doctor, s3, env, check, words):
    told = doctor.predicted(env={**s3.env, **env})
    assert told.verdict["captured"] and told.verdict["core"] and not told.verdict["delivered"]
    assert told.failed == {check}
    assert words in told.finding(check)


@pytest.mark.parametrize("action", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_a_bucket_that_takes_small_objects_alone_is_told(doctor, s3, action):
    """As one with a KMS key does where kms:Decrypt is missing."""
    s3.fail(error(403, "AccessDenied", "Access Denied"), action=action, times=9)
    told = doctor.predicted(env=s3.env)
    assert told.failed == {"bucket"} and not told.verdict["delivered"]
    assert "not in parts" in told.finding("bucket") and "AccessDenied" in told.finding("bucket")
    assert not s3.objects and not s3.uploads


def test_a_server_that_is_no_s3_is_not_trusted(doctor, s3):
    s3.fail(answer(200, b"welcome"))
    told = doctor.predicted(env=s3.env)
    assert told.failed == {"bucket"} and "is the endpoint one?" in told.finding("bucket")


@pytest.mark.parametrize("minutes, state", [(-20, "warning"), (-6, "warning"), (3, "ok"),
                                            (20, "warning")])
def test_the_clock_is_held_against_the_servers(doctor, s3, minutes, state):
    """The server's is wrong here, or rather: the other one of the two."""
    s3.clock = -60 * minutes
    told = doctor.predicted(env=s3.env)
    assert told.checks["clock"]["state"] == state and told.checks["bucket"]["state"] == "ok"
    assert ("behind" if minutes < 0 else "ahead") in told.finding("clock")


def test_a_clock_that_is_refused_whatever_is_said_fails(doctor, s3):
    s3.clock = 1200
    s3.fail(error(403, "RequestTimeTooSkewed"), times=9)
    told = doctor.predicted(env=s3.env)
    assert told.checks["clock"]["state"] == "FAIL" and told.checks["bucket"]["state"] == "FAIL"


def test_a_network_that_says_nothing_costs_at_most_15_seconds(doctor, s3):
    listener, fillers = blackhole()
    address = "http://127.0.0.1:%d" % listener.getsockname()[1]
    begin = time.monotonic()
    told = doctor.predicted(env={**s3.env, "AWS_ENDPOINT_URL_S3": address})
    assert time.monotonic() - begin < 15
    assert told.failed == {"bucket"} and "check the route to the endpoint" in told.finding("bucket")
    for sock in (listener, *fillers):
        sock.close()


def test_a_name_server_that_says_nothing_costs_no_more(doctor, s3, tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        try:
            silent.bind(("127.0.0.77", 53))
        except PermissionError:
            pytest.skip("port 53 is root's")
        config = tmp_path / "resolv.conf"
        config.write_text("nameserver 127.0.0.77\nsearch a.example b.example c.example\n"
                          "options ndots:5\n")
        begin = time.monotonic()
        told = doctor.predicted(env={**s3.env, "AWS_ENDPOINT_URL_S3": "https://s3.example"},
                                wrapper=in_mounts(f"mount --bind {config} /etc/resolv.conf"))
    assert time.monotonic() - begin < 15
    assert told.failed == {"bucket"} and "Resolving timed out" in told.finding("bucket")


# The cores dir


def in_mounts(*commands):
    """A wrapper: with mounts of its own."""
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec",
            "\n".join([*commands, 'exec "$@"']), "sh")


def test_a_plain_machines_directory_is_a_lasting_place(doctor):
    told = doctor.predicted()
    assert told.checks["credentials"]["state"] == told.checks["bucket"]["state"] == "skipped"
    assert "can be written" in told.finding("cores_dir")
    assert not list(doctor.cores.iterdir())


def test_a_cores_dir_that_is_missing_is_not_made_but_could_be(doctor):
    doctor.cores.rmdir()
    told = doctor.predicted()
    assert "isn't there yet and can be made" in told.finding("cores_dir")
    assert not doctor.cores.exists()


@pytest.mark.parametrize("where", ["/proc/nowhere", "/dev/null", "/nonexistent/deep/cores"])
def test_a_cores_dir_that_cannot_be_is_no_place(doctor, where):
    told = doctor.predicted("--cores-dir", where)
    assert told.failed == {"cores_dir"} and not told.verdict["delivered"]


def test_a_cores_dir_that_is_a_link_is_no_place(doctor, tmp_path):
    """corectl doesn't follow it after a crash either."""
    link = tmp_path / "link"
    link.symlink_to(doctor.cores)
    told = doctor.predicted("--cores-dir", link)
    assert told.failed == {"cores_dir"} and "a link to one" in told.finding("cores_dir")


@pytest.mark.parametrize("limit, unit", [("size=512k", "512 KiB"), ("nr_inodes=5", "4 inodes")])
def test_a_cores_dir_without_room_is_no_place(doctor, s3, limit, unit):
    wrapper = in_mounts(f"mount -t tmpfs -o {limit} tmpfs {doctor.cores}")
    told = doctor.predicted(wrapper=wrapper)
    assert told.failed == {"space"} and unit in told.finding("space")
    told = doctor.predicted(wrapper=wrapper, env=s3.env)
    assert told.verdict["ok"] and told.checks["space"]["state"] == "warning"


def test_without_a_cores_dir_the_bucket_is_enough(doctor, s3):
    told = doctor.predicted("--cores-dir", "/nonexistent/deep/cores", env=s3.env)
    assert told.verdict["ok"] and told.checks["cores_dir"]["state"] == "warning"


def test_no_cores_dir_as_asked_is_well_with_a_bucket_alone(doctor, s3):
    told = doctor.predicted("--cores-dir", "none", env=s3.env)
    assert told.verdict["ok"] and told.finding("cores_dir") == "none, as asked"
    assert told.checks["cores_dir"]["state"] == "ok" and told.checks["space"]["state"] == "skipped"
    told = doctor.predicted("--cores-dir", "none")
    assert told.failed == {"cores_dir"} and not told.verdict["delivered"]


@pytest.mark.parametrize("option, value, words", [
    ("--max-use", "100K", "max_use is 100 KiB"),
    ("--keep-free", "900T", "keep_free is"),
    ("--max-files", "4", "max_files is 4, and a bundle has up to 5 files"),
])
def test_a_limit_that_no_bundle_fits_is_told(doctor, option, value, words):
    told = doctor.predicted(option, value)
    assert told.verdict["ok"] and told.checks["space"]["state"] == "warning"
    assert words in told.finding("space")
    assert "removed at once" in told.checks["space"]["meaning"]


def test_what_is_not_kept_is_told(doctor, s3):
    told = doctor.predicted("--keep-local", "until-sent", env=s3.env)
    assert "removed there once all of them is in S3" in told.checks["cores_dir"]["meaning"]


# Processes


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]


def wait_for_child(process, name):
    for _ in range(200):
        for child in children(process.pid):
            with contextlib.suppress(FileNotFoundError):  # one by which coreinit tried something
                if os.path.basename(os.readlink(f"/proc/{child}/exe")) == name:
                    return child
        time.sleep(0.05)
    raise AssertionError(process.communicate(timeout=1))


@pytest.fixture
def running(run):
    """Starts a coreinit whose program sleeps. Returns the two pids."""
    started = []

    def start(*options, program=(CRASH, "sleep", "60"), **kwargs):
        process = run.start(*options, "--", *program, pid1=False, **kwargs)
        started.append(process)
        return process, wait_for_child(process, "crash")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_coreinits_own_settings_count(doctor, run, running, s3):
    """Neither its options nor its environment are the doctor's."""
    process, pid = running("--capture", "ptrace", env={**s3.env, "S3_KEY_PREFIX": "of/coreinit"})
    told = doctor.told(pid, env={"S3_BUCKET": "other", "COREINIT_CAPTURE": "off"})
    assert told.verdict["mode"] == "ptrace" and told.verdict["ok"]
    assert told.verdict["destination"] == f"s3://{BUCKET}/of/coreinit"
    assert f"(pid {process.pid}) traces crash (pid {pid})" in told.finding("capture")
    assert str(run.cores) in told.finding("space")


def test_a_process_without_coreinit_is_told(doctor):
    with subprocess.Popen([CRASH, "sleep", "60"]) as process:
        told = doctor.told(process.pid)
        process.kill()
    assert told.verdict["mode"] == "none" and told.failed == {"coreinit"}
    assert told.verdict["pid"] == process.pid


def test_a_coreinit_that_waits_for_its_process_is_told(doctor):
    script = '"$0" attach --name nobody-of-that-name 2>/dev/null & sleep 1; "$@"; r=$?; kill $!; exit $r'
    told = doctor.told(wrapper=("unshare", "--user", "--map-root-user", "--pid", "--fork",
                                "--mount-proc", "sh", "-c", script, CORECTL))
    assert told.failed == {"coreinit"} and "has no process now" in told.finding("coreinit")


LOOP_32 = """
.globl _start
_start: mov $29, %eax # pause
        int $0x80
        jmp _start
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 alone has 32-bit programs")
@pytest.mark.parametrize("capture", ["ptrace", "kernel"])
def test_a_32_bit_program_gives_no_core_and_that_is_told(doctor, run, tmp_path, capture):
    program = tmp_path / "crash"
    subprocess.run(["as", "--32", "-o", f"{program}.o"], input=LOOP_32, text=True, check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-o", program, f"{program}.o"], check=True)
    told = doctor.told("--", "--capture", capture, program)
    assert told.failed == {"capture"} and "is a 32-bit program" in told.finding("capture")
    process = run.start("--capture", capture, "--", program, pid1=False)
    pid = wait_for_child(process, "crash")
    told = doctor.told(pid)
    assert told.verdict["mode"] == capture and not told.verdict["core"]
    assert "is a 32-bit program" in told.finding("capture")
    os.kill(pid, signal.SIGSEGV)
    process.communicate(timeout=60)
    assert {bundle.account["capture"]["source"] for bundle in bundles(run.cores)} == {"none"}


def test_room_for_the_kernels_core_is_looked_at(doctor):
    """A core that is cut off may have no stack."""
    with open("/proc/sys/kernel/core_pattern") as f:
        if f.read().strip() != "core":
            pytest.skip("cores don't go to the working directory here")
    script = ('mkdir small; mount -t tmpfs -o size=1m tmpfs small; cd small\n'
              '"$0" --capture kernel -- "$1" sleep 60 2>/dev/null & sleep 1\n'
              '"$2" doctor --json; r=$?; kill -9 $!; exit $r')
    env = clean_environment(COREINIT_CORES_DIR=doctor.cores)
    told = Told(subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc",
         "sh", "-c", script, COREINIT, CRASH, CORECTL], env=env, cwd=doctor.cwd, text=True,
        capture_output=True, timeout=60))
    check = told.checks["core_pattern"]
    assert check["state"] == "warning" and "are free in" in check["finding"]


def test_settings_that_coreinit_refuses_are_told(doctor):
    told = doctor.told("--", "--cores-dir", "relative", CRASH)
    assert told.failed == {"coreinit"}
    assert "--cores-dir 'relative' is not an absolute path" in told.finding("coreinit")


@pytest.mark.parametrize("program", ["/nonexistent/program", "no-such-program-anywhere", "/etc/passwd"])
def test_a_program_that_cannot_be_started_is_told(doctor, program):
    told = doctor.told("--", "--capture", "ptrace", program)
    assert told.failed == {"coreinit"} and program in told.finding("coreinit")
    assert not told.verdict["captured"]


def test_a_corectl_that_is_missing_is_told(doctor):
    told = doctor.predicted(env={"COREINIT_CORECTL": "/nonexistent/corectl"})
    assert told.failed == {"coreinit"} and not told.verdict["captured"]
    assert "/nonexistent/corectl" in told.finding("coreinit")


def test_a_debugger_in_coreinits_place_is_named(doctor, running):
    _, pid = running("--capture", "kernel")
    subprocess.run(["gdb", "-nx", "-batch", "-ex", f"attach {pid}", "-ex",
                    f"shell {CORECTL} doctor --json {pid} >{doctor.cwd}/told"],
                   env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True,
                   timeout=60, check=True)
    answer = json.loads((doctor.cwd / "told").read_text())
    capture = next(check for check in answer["checks"] if check["check"] == "capture")
    assert capture["state"] == "FAIL" and "gdb (pid" in capture["finding"]


@pytest.mark.parametrize("words", [("--nonsense",), ("1", "2"), ("--name", "a", "1"), ("x",),
                                   ("--name",), ("--",), ("--name", "")])
def test_misuse_is_one_line(doctor, words):
    result = doctor.run(*words)
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_a_process_that_is_not_there_is_one_line(doctor):
    result = doctor.run("--name", "no-such-process-anywhere")
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1, result.stderr


def test_text_ends_with_the_verdict_and_fits_a_terminal(doctor):
    result = doctor.run("--", "--capture", "ptrace", CRASH)
    lines = result.stdout.splitlines()
    assert lines[-2:] == [
        "", f"A crash now would be captured (ptrace) and delivered to {doctor.cores}."]
    assert {line.split(" ")[0] for line in lines[:-1]} == {"ok", "skipped", ""}


def test_text_names_the_first_causes_and_the_mends(doctor):
    result = doctor.run("--", "--cores-dir", "/nonexistent/deep/cores", "--capture", "off", CRASH)
    assert result.returncode == 1
    text = " ".join(result.stdout.split())
    assert "A crash now would not be captured: capture: off: as asked; cores_dir:" in text
    assert "Docker: -e COREINIT_CAPTURE=auto ECS: COREINIT_CAPTURE=auto in environment" in text


def test_where_the_orchestrator_is_known_only_its_mend_is_told(doctor):
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    result = doctor.run("--", "--capture", "off", CRASH, env=env)
    assert "Kubernetes: " in result.stdout
    assert "Docker: " not in result.stdout and "ECS: " not in result.stdout


# coreinit --explain


def test_explain_starts_nothing(run):
    result = run("--explain", "--capture", "ptrace", "--", "touch", "made", pid1=False)
    assert result.returncode == 0 and not list(run.cwd.iterdir())
    said = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert said["capture"] == "ptrace" and said["why"] == "as asked"
    assert said["program"] == "touch" and said["core_expected"] == "yes"
    assert said["cores_dir"] == str(run.cores)


def test_explain_attaches_to_nothing(run):
    with subprocess.Popen([CRASH, "sleep", "60"]) as process:
        result = run("--explain", "--attach-pid", process.pid, pid1=False, timeout=10)
        process.kill()
    assert result.returncode == 0 and "\ncapture: ptrace\n" in result.stdout
    assert process.returncode == -9


def test_explain_lets_no_value_make_a_line_of_its_own(run):
    result = run("--explain", "--", "true", pid1=False, env={"S3_KEY_PREFIX": "a\ncapture: off"})
    assert result.stdout.count("\ncapture: ") == 1
    assert "key_prefix: a?capture: off\n" in result.stdout


# The crash test


def crash_test(doctor, *options, **kwargs):
    result = doctor.run("--crash-test", "--json", "--", "--capture", "ptrace", *options, CRASH,
                        **kwargs)
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, SCHEMA)
    test = answer["crash_test"]
    assert result.returncode == (0 if test["ok"] else 1)
    return test


def test_a_crash_of_ones_own_is_bundled_and_sent(doctor, s3):
    test = crash_test(doctor, env=s3.env)
    assert test["ok"], test["log"]
    assert "corectl_crash_as_asked" in test["top_frame"]
    bundle, = bundles(doctor.cores)
    assert bundle.id == test["bundle"]
    assert all(artifact["in_s3"] for artifact in test["artifacts"].values())
    assert {key.rpartition("/")[2].removeprefix(bundle.id) for key in s3.objects} == bundle.suffixes


def test_a_crash_test_without_a_cores_dir_goes_to_s3(doctor, s3):
    test = crash_test(doctor, "--cores-dir", "/nonexistent/deep/cores", env=s3.env)
    assert test["ok"] and test["artifacts"] is None, test["log"]
    assert len(s3.objects) == 5


def test_a_crash_test_whose_bundle_is_not_sent_fails(doctor, s3):
    test = crash_test(doctor, env={**s3.env, "AWS_SECRET_ACCESS_KEY": "wrong"})
    assert test["core"] and test["stack"] and not test["delivered"]
    assert "SignatureDoesNotMatch" in test["log"]


def test_a_crash_test_whose_core_alone_is_not_sent_fails(doctor, s3):
    refuse = error(403, "AccessDenied", "Access Denied")
    s3.fail(lambda handler: ".core.zip" in handler.path and refuse(handler), times=99)
    test = crash_test(doctor, env=s3.env)
    assert test["core"] and not test["delivered"]
    assert not test["artifacts"]["core"]["in_s3"]
    assert any(key.endswith(".stacktrace") for key in s3.objects), test["place"]


def test_a_crash_test_shows_what_the_bundle_has(doctor):
    result = doctor.run("--crash-test", "--", "--capture", "ptrace", CRASH)
    assert result.returncode == 0, result.stdout + result.stderr
    for kind in ("stacktrace", "core", "executable", "libs"):
        assert any(line.endswith(f"B  {kind}") for line in result.stdout.splitlines()), result.stdout
    assert result.stdout.splitlines()[-1].startswith("The crash test went well")
