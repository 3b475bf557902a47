"""An engine and the images that the tests run."""

import shutil
import subprocess
from pathlib import Path

import pytest
from engine import REPOSITORY, Engine, unavailable


@pytest.fixture(scope="session")
def engine():
    engine = Engine()
    if not shutil.which("docker") or not engine.answers():
        unavailable("no Docker engine answers (sh tests/setup/docker.sh start)")
    if engine("image", "inspect", "debian:bookworm-slim", check=False).returncode:
        unavailable("there is no image debian:bookworm-slim (sh tests/setup/docker.sh start)")
    yield engine
    engine.clear()


@pytest.fixture(scope="session")
def kernel_cores():
    """core_pattern is the whole machine's, and these tests leave it as they find it."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if not pattern or pattern[0] in "|@/":
        unavailable(f"the host's core_pattern '{pattern}' is not a name in the working directory")


@pytest.fixture
def cores(tmp_path):
    """What is mounted at /cores. Like a volume for any user, it is writable for all."""
    directory = tmp_path / "cores"
    directory.mkdir()
    directory.chmod(0o1777)
    return directory


@pytest.fixture(scope="session")
def coreinit(engine):
    """The image that docker/Dockerfile makes."""
    return engine.build("coreinit-test", "-f", REPOSITORY / "docker" / "Dockerfile", REPOSITORY)


@pytest.fixture(scope="session")
def coreinit_gdb(engine, coreinit):
    """The same with gdb."""
    dockerfile = REPOSITORY / "docker" / "Dockerfile"
    return engine.build(
        "coreinit-test:gdb", "-f", dockerfile, "--build-arg", "WITH_GDB=1", REPOSITORY
    )


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The crashing program (for glibc, musl, nothing; with ASan) and a library to preload."""
    directory = tmp_path_factory.mktemp("programs")
    crash = REPOSITORY / "tests" / "programs" / "crash.c"
    for name, source, compiler in (
        ("glibc", crash, ["gcc", "-pthread"]),
        ("musl", crash, ["musl-gcc"]),
        ("static", crash, ["gcc", "-static", "-pthread"]),
        ("static-musl", crash, ["musl-gcc", "-static"]),
        ("asan", crash, ["gcc", "-fsanitize=address", "-static-libasan", "-pthread"]),
        ("preload.so", Path(__file__).with_name("preload.c"), ["gcc", "-shared", "-fPIC"]),
    ):
        options = ["-g", "-O0", "-D_GNU_SOURCE"]
        subprocess.run([*compiler, *options, source, "-o", directory / name], check=True)
    return directory


@pytest.fixture(scope="session")
def build(engine, programs, tmp_path_factory):
    """Builds an image, with the programs and the given files in its context."""

    def build(tag, dockerfile, files=()):
        context = tmp_path_factory.mktemp("context")
        for path in (*programs.iterdir(), *files):
            shutil.copy(path, context)
        (context / "Dockerfile").write_text(dockerfile)
        return engine.build(f"coreinit-test-{tag}", context)

    return build


@pytest.fixture(scope="session")
def debian(build, coreinit):
    """As the README tells to put coreinit on an image."""
    return build(
        "debian",
        f"""
        FROM {coreinit} AS coreinit
        FROM debian:bookworm-slim
        COPY glibc /usr/bin/crash
        COPY --from=coreinit /opt/coreinit /opt/coreinit
        ENTRYPOINT ["/opt/coreinit/bin/coreinit", "--"]
        CMD ["/usr/bin/crash", "segv"]
        """,
    )


@pytest.fixture(scope="session")
def build_bare(build):
    """Builds an image of one static program and nothing else."""

    def build_bare(tag, coreinit, program):
        return build(
            tag,
            f"""
            FROM {coreinit} AS coreinit
            FROM scratch
            COPY {program} /crash
            COPY --from=coreinit /opt/coreinit /opt/coreinit
            ENTRYPOINT ["/opt/coreinit/bin/coreinit", "--"]
            CMD ["/crash", "segv"]
            """,
        )

    return build_bare


@pytest.fixture(scope="session")
def scratch(build_bare, coreinit):
    return build_bare("scratch", coreinit, "static")


@pytest.fixture(scope="session")
def scratch_gdb(build_bare, coreinit_gdb):
    """The same with gdb."""
    return build_bare("gdb", coreinit_gdb, "static")


@pytest.fixture(scope="session")
def musl(build, coreinit):
    """As on Alpine, the only libc is musl."""
    return build(
        "musl",
        f"""
        FROM {coreinit} AS coreinit
        FROM scratch
        COPY ld-musl-*.so.1 /lib/
        COPY musl /crash
        COPY --from=coreinit /opt/coreinit /opt/coreinit
        ENTRYPOINT ["/opt/coreinit/bin/coreinit", "--"]
        CMD ["/crash", "segv"]
        """,
        files=Path("/lib").glob("ld-musl-*.so.1"),
    )
