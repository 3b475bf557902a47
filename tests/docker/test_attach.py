"""A sidecar that watches an untouched image: two containers that share a pid namespace."""

import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from bundle import SUFFIXES, bundles
from container import CORECTL, on
from engine import REPOSITORY

PROGRAMS = REPOSITORY / "tests" / "programs"

# Where the application's library lies, and in the sidecar's image another one.
LIBRARY = "/opt/own/libown.so"

WITH_PTRACE = ("--cap-add", "SYS_PTRACE")
AS_IN_K8S = ("--cap-drop", "ALL", "--cap-add", "SYS_PTRACE", "--cap-add", "DAC_READ_SEARCH",
             "--read-only", "--security-opt", "no-new-privileges")
UID_1000 = ("--user", "1000:1000")


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The program for two libcs, its library, and another library of the same name."""
    directory = tmp_path_factory.mktemp("application")
    own, other = directory / "libown.so", directory / "other.so"
    library = ["-shared", "-fPIC", "-Wl,-soname,libown.so", PROGRAMS / "library.c"]
    program = [PROGRAMS / "watched.c", "-pthread"]
    for compiler, *arguments in (
        ("gcc", *library, "-o", own),
        ("gcc", *library, "-DOTHER_VARIANT", "-o", other),
        ("gcc", *program, "-DWITH_LIBRARY", own, "-Wl,-rpath,/opt/own", "-o",
         directory / "watched"),
        ("musl-gcc", *program, "-o", directory / "watched-musl"),
    ):
        options = ["-g", "-O0", "-D_GNU_SOURCE"]
        subprocess.run([compiler, *options, *arguments], check=True)
    return directory


@pytest.fixture(scope="module")
def untouched(build, application):
    """An image that nobody prepared."""
    return build(
        "untouched",
        """
        FROM debian:bookworm-slim
        COPY watched /usr/bin/watched
        COPY libown.so /opt/own/libown.so
        ENTRYPOINT ["/usr/bin/watched"]
        """,
        files=application.iterdir(),
    )


@pytest.fixture(scope="module")
def untouched_musl(build, application):
    return build(
        "untouched-musl",
        """
        FROM scratch
        COPY ld-musl-*.so.1 /lib/
        COPY watched-musl /usr/bin/watched
        ENTRYPOINT ["/usr/bin/watched"]
        """,
        files=[*application.iterdir(), *Path("/lib").glob("ld-musl-*.so.1")],
    )


@pytest.fixture(scope="module")
def sidecar_image(build, coreinit, application):
    """With something else at each path of the application's."""
    return build(
        "sidecar",
        f"""
        FROM {coreinit} AS coreinit
        FROM debian:bookworm-slim
        COPY other.so {LIBRARY}
        COPY --from=coreinit /opt/coreinit /opt/coreinit
        RUN cp /bin/true /usr/bin/watched
        """,
        files=application.iterdir(),
    )


class Pod:
    """Containers in one pid namespace, as Kubernetes and ECS make them."""

    def __init__(self, engine, cores):
        self.engine, self.cores, self.containers = engine, cores, []

    def start(self, image, *command, options=(), until):
        container = self.engine.start(image, *command, options=options, until=until)
        self.containers.append(container)
        return container

    def share_namespace(self, image):
        pause = self.start(image, "-c", "echo paused; exec sleep 600",
                           options=("--entrypoint", "sh"), until="paused")
        return f"--pid=container:{pause}"

    def watch(self, image, *options, until="waiting for one"):
        return self.start(image, "attach", "--name", "watched",
                          options=on(self.cores, "--entrypoint", CORECTL, *options), until=until)

    def says(self, container, text, count=1):
        for _ in range(300):
            if self.engine.logs(container).count(text) >= count:
                return
            time.sleep(0.1)
        raise AssertionError(self.engine.logs(container))

    def crash(self, container):
        self.engine("kill", "--signal", "USR1", container)
        assert int(self.engine("wait", container).stdout) == 128 + signal.SIGSEGV

    def bundles(self, sidecar, count):
        self.says(sidecar, "notice: bundle ", count)
        found = bundles(self.cores)
        assert len(found) == count
        return found

    def clear(self):
        for container in reversed(self.containers):
            self.engine("rm", "--force", container)
            self.engine.started.discard(container)


@pytest.fixture
def pod(engine, cores):
    pod = Pod(engine, cores)
    yield pod
    pod.clear()


def check(bundle, where):
    """A whole bundle, from which alone gdb knows the place, through the application's library."""
    assert bundle.suffixes == SUFFIXES
    where.mkdir()
    backtrace = bundle.backtrace(where)
    assert " crash_here (" in backtrace.splitlines()[0], backtrace
    assert " main (" in backtrace, backtrace
    return backtrace


def test_an_untouched_image_s_crash_is_bundled_twice_across_a_restart(
        pod, untouched, sidecar_image, application, tmp_path):
    shared = pod.share_namespace(untouched)
    sidecar = pod.watch(sidecar_image, shared, *WITH_PTRACE)
    container = pod.start(untouched, options=(shared,), until="ready")
    for n in (1, 2):
        pod.says(sidecar, "attached to watched", n)
        pod.crash(container)
        bundle = max(pod.bundles(sidecar, n), key=lambda b: b.account["time"])
        assert " through_library (" in check(bundle, tmp_path / str(n))
        assert bundle.path(".executable").read_bytes() == (application / "watched").read_bytes()
        with zipfile.ZipFile(bundle.path(".libs.zip")) as libs:
            assert libs.read(LIBRARY[1:]) == (application / "libown.so").read_bytes()
        assert [f["function"] for f in bundle.account["frames"]][:2] == ["crash_here",
                                                                        "through_library"]
        assert bundle.account["container"]["id"] == container
        if n == 1:
            pod.engine("start", container)


@pytest.mark.parametrize("sidecar_options", [WITH_PTRACE, (), AS_IN_K8S],
                         ids=["SYS_PTRACE", "default", "k8s/sidecar-attach.yaml"])
@pytest.mark.parametrize("application_options", [(), UID_1000], ids=["root", "uid 1000"])
def test_a_sidecar_as_root_needs_no_privilege_for_what_has_none(
        pod, untouched, coreinit, application_options, sidecar_options, tmp_path):
    shared = pod.share_namespace(untouched)
    container = pod.start(untouched, options=(shared, *application_options), until="ready")
    sidecar = pod.watch(coreinit, shared, *sidecar_options, until="attached to watched")
    pod.crash(container)
    (bundle,) = pod.bundles(sidecar, 1)
    assert " through_library (" in check(bundle, tmp_path / "gdb")


def test_the_same_user_needs_no_privilege_either(pod, untouched, coreinit, tmp_path):
    hardened = (*UID_1000, "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    shared = pod.share_namespace(untouched)
    container = pod.start(untouched, options=(shared, *hardened), until="ready")
    sidecar = pod.watch(coreinit, shared, *hardened, until="attached to watched")
    pod.crash(container)
    (bundle,) = pod.bundles(sidecar, 1)
    check(bundle, tmp_path / "gdb")


def test_what_a_sidecar_lacks_is_said(pod, untouched, coreinit):
    shared = pod.share_namespace(untouched)
    container = pod.start(untouched, options=(shared,), until="ready")
    sidecar = pod.watch(coreinit, shared, *UID_1000, until="cannot attach to watched")
    assert "--cap-add SYS_PTRACE" in pod.engine.logs(sidecar)
    pod.crash(container)


def test_an_application_with_another_libc_is_read_with_its_own(pod, untouched, untouched_musl,
                                                              sidecar_image, tmp_path):
    shared = pod.share_namespace(untouched)
    sidecar = pod.watch(sidecar_image, shared, *WITH_PTRACE)
    container = pod.start(untouched_musl, options=(shared,), until="ready")
    pod.says(sidecar, "attached to watched")
    pod.crash(container)
    (bundle,) = pod.bundles(sidecar, 1)
    check(bundle, tmp_path / "gdb")
    (libc,) = Path("/lib").glob("ld-musl-*.so.1")
    with zipfile.ZipFile(bundle.path(".libs.zip")) as libs:
        assert any(libs.read(name) == libc.read_bytes() for name in libs.namelist())


def test_a_bundle_is_whole_before_the_namespace_ends_with_its_init(pod, untouched, coreinit,
                                                                  tmp_path):
    """docker run --pid=container:APPLICATION: its process 1 is the one that crashes."""
    container = pod.start(untouched, until="ready 1")
    pod.watch(coreinit, f"--pid=container:{container}", *WITH_PTRACE, until="attached to watched")
    pod.crash(container)
    (bundle,) = bundles(pod.cores)
    assert bundle.account["complete"] is True
    check(bundle, tmp_path / "gdb")
