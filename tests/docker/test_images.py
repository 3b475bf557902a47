"""Real containers and real crashes: what docker/Dockerfile makes works in any image."""

import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time

import pytest
from bundle import SUFFIXES, whole_bundle
from container import CORE_LIMIT, CORECTL, COREINIT, check_crash, on
from engine import REPOSITORY, Engine, unavailable
from s3_server import S3rver, why_no_s3rver

# The image


def test_the_image_adds_at_most_30_mb(engine, coreinit):
    size = int(engine("image", "inspect", "--format", "{{.Size}}", coreinit).stdout)
    assert size <= 30_000_000


def test_the_image_holds_opt_coreinit_and_nothing_else(engine, coreinit):
    saved = subprocess.run(["docker", "save", coreinit], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(saved)) as image:
        manifest = json.load(image.extractfile("manifest.json"))
        names = set()
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                names.update(name.rstrip("/") for name in files.getnames())
    assert names - {"opt"} == {n for n in names if (n + "/").startswith("opt/coreinit/")}
    assert {"opt/coreinit/bin/coreinit", "opt/coreinit/bin/corectl"} <= names
    assert "opt/coreinit/etc/ca-certificates.crt" in names
    assert "opt/coreinit/share/doc/libcurl4/copyright" in names


@pytest.mark.parametrize("image", ["debian", "scratch", "musl"])
def test_both_programs_run(engine, request, image):
    image = request.getfixturevalue(image)
    for program in (COREINIT, CORECTL):
        result = engine.run(image, "--version", options=("--entrypoint", program))
        assert result.returncode == 0, result.stderr
        assert "version" in result.stdout


def test_pid_1_has_no_loader(engine, coreinit):
    """One would list libraries instead of running the program."""
    options = ("--entrypoint", COREINIT, "-e", "LD_TRACE_LOADED_OBJECTS=1")
    assert "version" in engine.run(coreinit, "--version", options=options).stdout


def test_corectl_takes_no_library_of_the_image(engine, debian):
    """Not even where the image says so for its own program."""
    libraries = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    traced = engine.run(
        debian,
        options=("--entrypoint", CORECTL)
        + ("-e", "LD_TRACE_LOADED_OBJECTS=1", "-e", f"LD_LIBRARY_PATH=/lib/{libraries}"),
    )
    lines = [line.split() for line in traced.stdout.splitlines() if "linux-vdso" not in line]
    paths = [line[2] if "=>" in line else line[0] for line in lines]
    assert len(paths) > 5, traced.stderr
    assert [path for path in paths if not path.startswith("/opt/coreinit/")] == []


# Crashes


@pytest.mark.parametrize("image", ["debian", "scratch", "musl"])
def test_a_crash_leaves_a_bundle(engine, kernel_cores, request, image, cores, tmp_path):
    image = request.getfixturevalue(image)
    result = engine.run(image, options=on(cores, *CORE_LIMIT))
    check_crash(result, cores, tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ("--ulimit", "core=-1"),
        (*CORE_LIMIT, "--read-only", "-w", "/cores"),
        (*CORE_LIMIT, "--user", "10001:10001", "-w", "/cores"),
        (*CORE_LIMIT, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        (*CORE_LIMIT, "--init"),
    ],
    ids=["core=-1", "read-only", "non-root", "no capability", "--init"],
)
def test_a_crash_leaves_a_bundle_with(engine, kernel_cores, debian, options, cores, tmp_path):
    check_crash(engine.run(debian, options=on(cores, *options)), cores, tmp_path)


@pytest.mark.parametrize("how", ["LD_PRELOAD", "ld.so.preload"])
def test_what_the_image_preloads_does_not_reach_the_collector(
    engine, kernel_cores, debian, programs, how, cores, tmp_path
):
    """An allocator, say, which the collector's own libc may be unable to load."""
    library = ["-v", f"{programs}/preload.so:/preload.so"]
    if how == "LD_PRELOAD":
        library += ["-e", "LD_PRELOAD=/preload.so"]
    else:
        (tmp_path / "list").write_text("/preload.so\n")
        library += ["-v", f"{tmp_path}/list:/etc/ld.so.preload"]
    result = engine.run(debian, options=on(cores, *CORE_LIMIT, *library))
    assert result.stderr.count("preloaded") == 1, result.stderr
    check_crash(result, cores, tmp_path)


def test_a_signal_from_docker_kill_reaches_the_program(
    engine, kernel_cores, debian, cores, tmp_path
):
    container = engine.start(
        debian,
        *("/usr/bin/crash", "sleep", "60"),
        options=on(cores, *CORE_LIMIT, "-e", "TINI_VERBOSITY=2"),
        until="started /usr/bin/crash",
    )
    engine("kill", "-s", "SEGV", container)
    status, log = engine.finish(container)
    assert status == 128 + signal.SIGSEGV, log
    bundle = whole_bundle(cores)
    assert bundle.account["signal"]["number"] == signal.SIGSEGV
    assert "do_sleep" in bundle.backtrace(tmp_path)


def test_with_gdb_the_stack_trace_is_gdbs(engine, kernel_cores, scratch_gdb, cores, tmp_path):
    result = engine.run(scratch_gdb, options=on(cores, *CORE_LIMIT))
    assert "crash_here (value=" in check_crash(result, cores, tmp_path).stacktrace


def test_the_fluent_bit_image_replaces_the_bases_entry_point(
    engine, kernel_cores, build, coreinit, cores, tmp_path
):
    fluent_bit = tmp_path / "fluent-bit"
    fluent_bit.write_text('#!/bin/sh\necho "$0 $*"\nexec /usr/bin/crash segv\n')
    fluent_bit.chmod(0o755)
    base = build(
        "fluent-bit-base",
        """
        FROM debian:bookworm-slim
        COPY glibc /usr/bin/crash
        COPY fluent-bit /fluent-bit/bin/
        ENTRYPOINT ["/bin/false"]
        """,
        files=[fluent_bit],
    )
    image = engine.build(
        "coreinit-test-fluent-bit",
        *("--build-arg", f"BASE={base}", "--build-arg", f"COREINIT={coreinit}", "-"),
        input=(REPOSITORY / "docker" / "fluent-bit.Dockerfile").read_text(),
    )
    result = engine.run(image, options=on(cores, *CORE_LIMIT, "--read-only"))
    assert result.stdout == "/fluent-bit/bin/fluent-bit -c /fluent-bit/etc/fluent-bit.conf\n"
    check_crash(result, cores, tmp_path)


@pytest.mark.parametrize("image", ["debian", "scratch"])
def test_a_bundle_goes_to_s3_from(engine, kernel_cores, request, image, cores, tmp_path):
    """From scratch too: names are resolved and requests signed without a file of the image."""
    image = request.getfixturevalue(image)
    if why_no_s3rver():
        unavailable(why_no_s3rver())
    with S3rver(tmp_path, address="localhost") as s3:
        environment = [word for pair in s3.env.items() for word in ("-e", "=".join(pair))]
        options = on(cores, *CORE_LIMIT, "--network", "host", *environment)
        bundle = check_crash(engine.run(image, options=options), cores, tmp_path)
        assert sorted(s3.keys()) == sorted(f"issue/{bundle.id}{suffix}" for suffix in SUFFIXES)
        for suffix in SUFFIXES:
            assert s3.read(f"issue/{bundle.id}{suffix}") == bundle.path(suffix).read_bytes()


# coreinit as the engine's own init


@pytest.fixture(scope="module")
def init_path_engine(engine, coreinit, debian, tmp_path_factory):
    """A second engine, whose docker-init is coreinit; it shares nothing with the first one."""
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        unavailable("a second engine takes root and dockerd")
    home = tmp_path_factory.mktemp("engine")
    container = engine("create", coreinit).stdout.strip()
    engine("cp", f"{container}:{COREINIT}", home / "coreinit")
    engine("rm", container)

    second = Engine(f"unix://{home}/docker.sock")
    with open(home / "log", "w") as log:
        dockerd = subprocess.Popen(
            # A dockerd that has no bridge deletes docker0: let it find none.
            ["unshare", "--net", "dockerd", "--bridge", "none", "--iptables=false"]
            + ["--init-path", home / "coreinit", "--host", f"unix://{home}/docker.sock"]
            + ["--data-root", home / "data", "--exec-root", home / "exec"]
            + ["--pidfile", home / "pid"],
            stdout=log,
            stderr=log,
        )
    try:
        for _ in range(60):
            if second.answers() or dockerd.poll() is not None:
                break
            time.sleep(1)
        assert second.answers(), (home / "log").read_text()
        image = subprocess.run(["docker", "save", debian], check=True, capture_output=True).stdout
        subprocess.run([*second.command, "load"], input=image, check=True, capture_output=True)
        yield second
    finally:
        dockerd.terminate()
        dockerd.wait(timeout=60)
        shutil.rmtree(home)


WITHOUT_ENTRYPOINT = ("--init", "--network", "none", "--entrypoint", "")


def test_as_init_path_it_is_silent_and_passes_the_status_on(init_path_engine, debian):
    result = init_path_engine.run(debian, "sh", "-c", "exit 7", options=WITHOUT_ENTRYPOINT)
    assert (result.returncode, result.stdout, result.stderr) == (7, "", "")
    first = init_path_engine.run(debian, "cat", "/proc/1/comm", options=WITHOUT_ENTRYPOINT)
    assert first.stdout == "docker-init\n"


def test_as_init_path_it_bundles_where_the_image_has_corectl(
    init_path_engine, kernel_cores, debian, cores, tmp_path
):
    options = on(cores, *CORE_LIMIT, *WITHOUT_ENTRYPOINT, "-e", f"COREINIT_CORECTL={CORECTL}")
    result = init_path_engine.run(debian, "/usr/bin/crash", "segv", options=options)
    check_crash(result, cores, tmp_path)
