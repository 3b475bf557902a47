"""corectl attach: the crashes of a process that is somebody else's child."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import time
import zipfile

import pytest

from bundle import bundles
from conftest import AS_PID_1, BUILD, COREINIT, CORECTL, ROOT, clean_environment
from terminal import Terminal
from tracing import AS_IN_DOCKER, AS_USER, children_of, functions, wait_for

pytest_plugins = "tracing_fixtures"

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 4096, 16384, 1 << 18, 2

# Of a name that nothing else on the machine has.
NAME = f"watched-{os.getpid()}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return shutil.copy(BUILD / "tests/watched", tmp_path_factory.mktemp("watched") / NAME)


def status_of(pid):
    with open(f"/proc/{pid}/status") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def tracers(pid):
    """Of all threads."""
    return {int(status_of(f"{pid}/task/{tid}")["TracerPid"])
            for tid in os.listdir(f"/proc/{pid}/task")}


def states(pid):
    return {status_of(f"{pid}/task/{tid}")["State"][0] for tid in os.listdir(f"/proc/{pid}/task")}


def holds_files_of_another(pid):
    """Its executable, its root, its mappings: a container's file system isn't to be kept so."""
    directory, found = f"/proc/{pid}/fd", []
    for fd in map(int, os.listdir(directory)):
        with contextlib.suppress(FileNotFoundError):  # one of a look that ended meanwhile
            if fd > 2 and not os.readlink(f"{directory}/{fd}").startswith("anon_inode:"):
                found.append(fd)
    return found


def end(process, timeout=30):
    process.kill()
    process.wait(timeout)


class Application:
    """The process that is attached to. It lives in no container of ours."""

    def __init__(self, program, *command, wrapper=(), **kwargs):
        self.process = subprocess.Popen([*map(str, wrapper), str(program), *map(str, command)],
                                        stdout=subprocess.PIPE, text=True, **kwargs)
        self.pid = self.ready()

    def ready(self):
        word, number = self.process.stdout.readline().split()
        assert word == "ready"
        return int(number)

    def kill(self, signo):
        os.kill(self.pid, signo)

    def counted(self):
        self.kill(signal.SIGUSR2)
        word, number = self.process.stdout.readline().split()
        assert word == "counted"
        return int(number)

    def wait(self):
        return self.process.wait(30)

    def crash(self):
        self.kill(signal.SIGUSR1)
        return self.wait()


class Watcher:
    """corectl attach, and what it logs."""

    def __init__(self, directory, *arguments, wrapper=(), corectl=CORECTL, env=None):
        self.cores = directory / "cores"
        self.log_path = directory / "log"
        self.log_file = open(self.log_path, "w")
        self.process = subprocess.Popen(
            [*map(str, wrapper), str(corectl), "attach", *map(str, arguments)],
            stderr=self.log_file, stdin=subprocess.DEVNULL,
            env=clean_environment(COREINIT_CORES_DIR=self.cores, **(env or {})))

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def pid(self):
        return self.process.pid

    def said(self, text, count=1):
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.log.count(text) >= count, "")
        assert self.log.count(text) >= count, self.log

    def attached_to(self, pid):
        self.said(f", pid {pid}:")

    def bundles(self, count):
        def is_done():
            return self.log.count("notice: bundle ") >= count or self.process.poll() is not None

        wait_for(is_done, "no bundle")
        found = bundles(self.cores)
        assert len(found) == count, self.log
        return found

    def bundled_pids(self, count):
        return {bundle.account["pid"] for bundle in self.bundles(count)}

    def stop(self, signo=signal.SIGTERM):
        self.process.send_signal(signo)
        return self.process.wait(30)


@pytest.fixture
def things():
    """What is to be ended after a test."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def start(things, watched):
    def start(*command, program=watched, **kwargs):
        application = Application(program, *command, **kwargs)
        things.callback(end, application.process)
        return application

    return start


@pytest.fixture
def watch(things, tmp_path):
    def watch(*arguments, directory=tmp_path, **kwargs):
        watcher = Watcher(directory, *arguments, **kwargs)
        things.callback(watcher.log_file.close)
        things.callback(end, watcher.process)
        return watcher

    return watch


@pytest.fixture
def watch_by_name(watch):
    """A watcher that waits already."""
    def watch_by_name(**kwargs):
        watcher = watch("--name", NAME, **kwargs)
        watcher.said(f"no process named '{NAME}' runs: waiting for one")
        return watcher

    return watch_by_name


@pytest.fixture
def for_all(tmp_path_factory, watched):
    """A directory that any user may use, with both programs."""
    directory = tmp_path_factory.mktemp("for-all")
    for parent in (directory, *directory.parents):
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(parent.stat().st_mode | 0o055)
    for program in (COREINIT, CORECTL, watched):
        shutil.copy(program, directory)
    directory.chmod(0o1777)
    return directory


def test_a_crash_is_bundled_and_its_real_parent_is_told_as_ever(start, watch_by_name, quick):
    watcher = watch_by_name()
    application = start("threads", 3)
    watcher.attached_to(application.pid)
    assert tracers(application.pid) == {watcher.pid}
    assert application.crash() == -signal.SIGSEGV
    bundle, = watcher.bundles(1)
    assert bundle.suffixes >= {".core.zip", ".executable", ".libs.zip", ".stacktrace"}
    assert functions(bundle)[:2] == ["crash_here", "through_library"]
    assert bundle.account["capture"]["mode"] == "ptrace"
    assert bundle.account["pid"] == application.pid
    assert watcher.stop() == 0


def test_one_crash_after_another_is_bundled(start, watch_by_name, quick):
    watcher = watch_by_name()
    for n in range(1, 4):
        application = start()
        watcher.attached_to(application.pid)
        assert application.crash() == -signal.SIGSEGV
        assert application.pid in watcher.bundled_pids(n)
    assert watcher.stop() == 0


def test_the_next_process_is_attached_to_while_the_last_ones_bundle_is_made(
        start, watch_by_name, quick, gate):
    """As when a bundle takes minutes to be sent; here it isn't begun when the next one runs."""
    watcher = watch_by_name(env=gate.env)
    first = start()
    watcher.attached_to(first.pid)
    first.kill(signal.SIGUSR1)
    gate.wait()
    first.kill(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    second = start()
    watcher.attached_to(second.pid)
    second.kill(signal.SIGUSR1)
    watcher.said("is at a fatal SIGSEGV", 2)
    assert states(second.pid) == {"t"}, "it is held until the collector has time for it"
    gate.open()
    assert second.wait() == -signal.SIGSEGV
    assert second.pid in watcher.bundled_pids(2)


def test_a_process_without_a_crash_is_left_to_its_end(start, watch_by_name):
    watcher = watch_by_name()
    for ends in (signal.SIGTERM, signal.SIGKILL):
        application = start("threads", 2)
        watcher.attached_to(application.pid)
        application.kill(ends)
        assert application.wait() == (7 if ends == signal.SIGTERM else -signal.SIGKILL)
        watcher.said(f"the program (pid {application.pid}) ended with status")
        wait_for(lambda: not holds_files_of_another(watcher.pid), "its files are held")
    assert watcher.stop() == 0
    assert not watcher.cores.exists()


def test_by_number_it_ends_as_the_process_does(start, watch, quick):
    application = start()
    watcher = watch("--pid", application.pid)
    watcher.attached_to(application.pid)
    application.kill(signal.SIGTERM)
    assert application.wait() == 7
    assert watcher.process.wait(30) == 7


def test_by_number_a_crash_is_its_end(start, watch, quick):
    application = start()
    watcher = watch("--pid", application.pid)
    watcher.attached_to(application.pid)
    assert application.crash() == -signal.SIGSEGV
    assert watcher.process.wait(60) == 128 + signal.SIGSEGV
    assert functions(watcher.bundles(1)[0])[0] == "crash_here"


def test_a_number_that_nobody_has_is_an_error(watch):
    watcher = watch("--pid", 4194303)
    assert watcher.process.wait(30) == 1
    assert "there is no process 4194303 to attach to" in watcher.log


@pytest.mark.parametrize("arguments, complaint", [
    ((), "usage: corectl attach (--name NAME | --pid PID)"),
    (("--name",), "usage: corectl attach (--name NAME | --pid PID)"),
    (("--pid", "x"), "--attach-pid 'x' is not a process's number"),
    (("--pid", "0"), "--attach-pid '0' is not a process's number"),
    (("--name", "x" * 64), "is too long"),
    (("--name", "x", "--attach-pid", "7"), "exclude each other"),
    (("--name", "x", "--", "sleep", "1"), "sleep is not started"),
])
def test_misuse_is_told_in_one_line(watch, arguments, complaint):
    watcher = watch(*arguments)
    assert watcher.process.wait(30) == 1
    assert complaint in watcher.log.splitlines()[0]


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_leaves_the_process_running_and_untraced(start, watch, signo):
    application = start("threads", 5)
    watcher = watch("--pid", application.pid)
    watcher.attached_to(application.pid)
    assert watcher.stop(signo) == (-signo if signo == signal.SIGKILL else 0)
    assert tracers(application.pid) == {0}
    assert not states(application.pid) & {"t", "T"}
    before = application.counted()
    wait_for(lambda: application.counted() > before, "it doesn't go on")
    application.kill(signal.SIGTERM)
    assert application.wait() == 7


def test_signals_to_the_watcher_are_not_the_applications(start, watch):
    application = start()
    watcher = watch("--pid", application.pid)
    watcher.attached_to(application.pid)
    for signo in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT):
        watcher.process.send_signal(signo)
    application.counted()
    assert watcher.process.poll() is None
    assert watcher.stop() == 0
    application.counted()


def test_asked_to_stop_it_finishes_the_bundle_first(start, watch_by_name, quick, gate):
    watcher = watch_by_name(env=gate.env)
    application = start()
    watcher.attached_to(application.pid)
    application.kill(signal.SIGUSR1)
    gate.wait()
    watcher.process.send_signal(signal.SIGTERM)
    watcher.said("asked to stop while a crash is collected")
    gate.open()
    assert watcher.process.wait(60) == 0
    assert application.wait() == -signal.SIGSEGV
    assert functions(watcher.bundles(1)[0])[0] == "crash_here"


def test_killed_while_it_holds_a_process_that_dies_of_its_signal(start, watch_by_name, quick, gate):
    watcher = watch_by_name(env=gate.env)
    application = start()
    watcher.attached_to(application.pid)
    application.kill(signal.SIGUSR1)
    gate.wait()
    assert watcher.stop(signal.SIGKILL) == -signal.SIGKILL
    assert application.wait() == -signal.SIGSEGV
    gate.open()


def test_a_stopped_process_stays_stopped(start, watch):
    application = start("threads", 2)
    application.kill(signal.SIGSTOP)
    wait_for(lambda: states(application.pid) == {"T"}, "it isn't stopped")
    watcher = watch("--pid", application.pid)
    watcher.attached_to(application.pid)
    time.sleep(0.3)
    assert states(application.pid) <= {"t", "T"}
    assert watcher.stop() == 0
    assert tracers(application.pid) == {0}
    time.sleep(0.3)
    assert states(application.pid) == {"T"}
    application.kill(signal.SIGCONT)
    application.counted()


def test_a_hundred_times_killed_the_watcher_leaves_500_threads_running(start, watch, tmp_path):
    """Also while it seizes them, which takes some milliseconds."""
    application = start("threads", 500)
    counted = application.counted()
    generator = random.Random(5)
    traced = 0

    def attach():
        return subprocess.Popen([CORECTL, "attach", "--name", NAME, "--cores-dir", tmp_path],
                                stderr=subprocess.DEVNULL, env=clean_environment())

    before = time.monotonic()
    watcher = attach()
    wait_for(lambda: watcher.pid in tracers(application.pid), "it doesn't attach")
    as_long_as_it_takes = time.monotonic() - before
    watcher.kill()
    watcher.wait()
    for n in range(100):
        watcher = attach()
        time.sleep(generator.uniform(0, 2 * as_long_as_it_takes))
        with contextlib.suppress(FileNotFoundError):
            traced += watcher.pid in tracers(application.pid)
        watcher.kill()
        watcher.wait()
        assert tracers(application.pid) == {0}, n
        assert not states(application.pid) & {"t", "T"}, n
        now = application.counted()
        assert now > counted, n
        counted = now
    assert traced > 10, "it was killed too early to tell anything"
    application.kill(signal.SIGTERM)
    assert application.wait() == 7


def test_a_worker_from_before_is_attached_to_and_its_parent_reaps_it(start, watch, quick):
    application = start("worker")
    parent, worker = application.process.pid, application.pid
    watcher = watch("--name", NAME)
    watcher.attached_to(parent)
    assert tracers(worker) == {watcher.pid}
    application.kill(signal.SIGUSR1)
    assert application.process.stdout.readline() == f"worker ended with signal {signal.SIGSEGV}\n"
    bundle, = watcher.bundles(1)
    assert bundle.account["pid"] == worker
    next_worker = application.ready()
    assert tracers(next_worker) == {watcher.pid}
    os.kill(next_worker, signal.SIGUSR1)
    assert application.process.stdout.readline() == f"worker ended with signal {signal.SIGSEGV}\n"
    assert watcher.bundled_pids(2) == {worker, next_worker}
    assert watcher.log.count("attached to") == 2, "the banner, and one process"


def test_a_daemon_is_followed_when_it_leaves_its_parents(start, watch, quick):
    application = start("daemon")
    watcher = watch("--name", NAME)
    watcher.attached_to(application.pid)
    application.kill(signal.SIGUSR2)
    assert application.wait() == 0
    application.pid = application.ready()
    watcher.attached_to(application.pid)
    assert tracers(application.pid) == {watcher.pid}
    application.kill(signal.SIGUSR1)
    bundle, = watcher.bundles(1)
    assert bundle.account["pid"] == application.pid


def test_another_tracer_is_named_once_and_followed_after_its_end(start, watch, tmp_path):
    application = start()
    directories = [tmp_path / "first", tmp_path / "second"]
    for directory in directories:
        directory.mkdir()
    first = watch("--pid", application.pid, directory=directories[0])
    first.attached_to(application.pid)
    second = watch("--pid", application.pid, directory=directories[1])
    second.said(f"cannot attach to {NAME} (pid {application.pid}): coreinit (pid {first.pid}) "
                "traces it already")
    time.sleep(2)
    assert second.log.count("cannot attach") == 1
    assert first.stop() == 0
    second.attached_to(application.pid)


def test_root_without_the_capability_attaches_to_another_users_process(start, watch, quick,
                                                                       for_all):
    application = start(wrapper=AS_USER, program=for_all / NAME)
    watcher = watch("--name", NAME, wrapper=AS_IN_DOCKER, corectl=for_all / "corectl",
                    directory=for_all)
    watcher.attached_to(application.pid)
    assert application.crash() == -signal.SIGSEGV
    bundle, = watcher.bundles(1)
    assert ".core.zip" in bundle.suffixes and functions(bundle)[0] == "crash_here"
    assert ".executable" in bundle.suffixes and ".libs.zip" in bundle.suffixes


def test_a_user_attaches_to_processes_of_its_own(start, watch, quick, for_all):
    application = start(wrapper=AS_USER, program=for_all / NAME)
    watcher = watch("--name", NAME, wrapper=AS_USER, corectl=for_all / "corectl",
                    directory=for_all)
    watcher.attached_to(application.pid)
    assert application.crash() == -signal.SIGSEGV
    assert functions(watcher.bundles(1)[0])[0] == "crash_here"


def test_what_is_missing_is_said_once(start, watch, for_all):
    application = start(program=for_all / NAME)
    watcher = watch("--name", NAME, wrapper=AS_USER, corectl=for_all / "corectl",
                    directory=for_all)
    watcher.said(f"cannot attach to {NAME}")
    time.sleep(2)
    complaint, = [line for line in watcher.log.splitlines() if "cannot attach" in line]
    assert "it is uid 0's" in complaint and "uid 1000) has no CAP_SYS_PTRACE" in complaint
    assert "--cap-add SYS_PTRACE" in complaint
    application.counted()


def test_a_container_of_its_own_is_told_to_be_one(watch):
    watcher = watch("--name", NAME, wrapper=AS_PID_1)
    watcher.said("this container has a pid namespace of its own")
    assert "shareProcessNamespace" in watcher.log


def test_the_init_of_a_shared_namespace_is_held_until_its_bundle_is_whole(things, watched, tmp_path,
                                                                          quick):
    """Its end is that of all in the namespace, the watcher included."""
    application = subprocess.Popen(
        [*AS_PID_1, watched, "threads", "2"], stdout=subprocess.PIPE, text=True)
    things.callback(end, application)
    assert application.stdout.readline() == "ready 1\n"
    outer, = children_of(application.pid)
    watcher = Watcher(tmp_path, "--name", NAME,
                      wrapper=("nsenter", "--target", outer, "--pid", "--mount"))
    things.callback(watcher.log_file.close)
    things.callback(end, watcher.process)
    watcher.attached_to(1)
    os.kill(outer, signal.SIGABRT)
    os.kill(outer, signal.SIGUSR2)
    assert application.stdout.readline().startswith("counted "), "nothing but its faults is fatal"
    os.kill(outer, signal.SIGUSR1)
    application.wait(60)
    bundle, = bundles(watcher.cores)
    assert functions(bundle)[0] == "crash_here"
    assert bundle.account["complete"] is True
    assert bundle.suffixes >= {".core.zip", ".executable", ".libs.zip", ".stacktrace"}


def gdb(application, *commands):
    """corectl gdb, which asks the watcher for the process."""
    return subprocess.run([CORECTL, "gdb", str(application.pid), "--", "-nx", "-batch",
                           *(word for command in commands for word in ("-ex", command))],
                          capture_output=True, text=True, timeout=60, env=clean_environment())


def test_a_debugger_has_the_process_for_a_while(start, watch_by_name):
    watcher = watch_by_name()
    application = start("threads", 2)
    watcher.attached_to(application.pid)
    assert "#0" in gdb(application, "bt").stdout
    wait_for(lambda: tracers(application.pid) == {watcher.pid}, "it isn't traced again")
    assert application.crash() == -signal.SIGSEGV
    assert functions(watcher.bundles(1)[0])[0] == "crash_here"


def test_after_one_that_a_debugger_killed_comes_the_next(start, watch_by_name):
    watcher = watch_by_name()
    application = start()
    watcher.attached_to(application.pid)
    gdb(application, "kill")
    assert application.wait() == -signal.SIGKILL
    following = start()
    watcher.attached_to(following.pid)
    assert following.crash() == -signal.SIGSEGV
    assert following.pid in watcher.bundled_pids(1)


def test_the_next_one_is_attached_to_while_the_debugger_stays_at_its_prompt(start, watch_by_name):
    watcher = watch_by_name()
    application = start()
    watcher.attached_to(application.pid)
    terminal = Terminal(str(CORECTL), "gdb", str(application.pid), "--", "-nx", "-q")
    terminal.expect(r"\(gdb\) ")
    application.kill(signal.SIGKILL)
    terminal.type("continue\n")
    assert application.wait() == -signal.SIGKILL
    following = start()
    watcher.attached_to(following.pid)
    terminal.type("quit\n")
    terminal.status()
    assert following.crash() == -signal.SIGSEGV
    assert following.pid in watcher.bundled_pids(1)


class Elsewhere:
    """A root directory whose library has another content than what lies at its path here."""

    def __init__(self, directory):
        self.root, self.outside = directory / "root", directory / "lib"
        self.root.mkdir()
        self.outside.mkdir()
        inside = self.root / self.outside.relative_to("/")
        inside.mkdir(parents=True)
        self.library = inside / "libown.so"
        for variant, folder in (("-DOTHER_VARIANT", self.outside), ("-DTHE_VARIANT", inside)):
            self.compile("-shared", "-fPIC", variant, ROOT / "tests/programs/library.c",
                         "-o", folder / "libown.so")
        self.program = self.root / NAME
        self.compile("-DWITH_LIBRARY", ROOT / "tests/programs/watched.c", "-o", self.program,
                     f"-L{inside}", "-lown", f"-Wl,-rpath,{self.outside}", "-pthread")
        mapped = subprocess.run(["ldd", self.program], check=True, capture_output=True, text=True)
        for word in mapped.stdout.split():
            if word.startswith("/") and "libown" not in word:
                copy = self.root / word[1:]
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, copy)
        (self.root / "proc").mkdir()

    def enter(self):
        """As a container's runtime does it."""
        libc = ctypes.CDLL(None, use_errno=True)
        pivot_root = 155
        root = os.fsencode(self.root)
        for result in (libc.unshare(CLONE_NEWNS),
                       libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None),
                       libc.mount(root, root, None, MS_BIND, None),
                       libc.chdir(root),
                       libc.syscall(pivot_root, b".", b"."),
                       libc.umount2(b".", MNT_DETACH),
                       libc.chdir(b"/")):
            if result != 0:
                raise OSError(ctypes.get_errno(), "cannot enter another root")

    @staticmethod
    def compile(*arguments):
        subprocess.run(["gcc", "-g", "-O0", "-D_GNU_SOURCE", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("has_gdb", [False, True], ids=["libdw", "gdb"])
def test_files_come_from_the_process_s_own_root(start, watch_by_name, elsewhere, request, tmp_path,
                                                has_gdb):
    if not has_gdb:
        request.getfixturevalue("quick")
    watcher = watch_by_name()
    application = start(program=f"/{NAME}", preexec_fn=elsewhere.enter)
    watcher.attached_to(application.pid)
    assert application.crash() == -signal.SIGSEGV
    bundle, = watcher.bundles(1)
    assert functions(bundle)[:3] == ["crash_here", "through_library", "main"]
    assert bundle.account["frames"][1]["file"].endswith("tests/programs/library.c"), \
        "the library's debug information is there, in its own root alone"
    assert bundle.path(".executable").read_bytes() == elsewhere.program.read_bytes()
    with zipfile.ZipFile(bundle.path(".libs.zip")) as libs:
        name = str(elsewhere.outside / "libown.so")[1:]
        assert libs.read(name) == elsewhere.library.read_bytes()
        assert any(entry.endswith("/libc.so.6") for entry in libs.namelist())
    if has_gdb:
        assert "through_library (function=" in bundle.stacktrace
        assert " through_library (" in bundle.backtrace(tmp_path)


def test_a_chroot_of_this_container_is_read_by_this_containers_paths(start, watch_by_name, quick,
                                                                     elsewhere):
    watcher = watch_by_name()
    application = start(wrapper=("chroot", elsewhere.root), program=f"/{NAME}")
    watcher.attached_to(application.pid)
    assert application.crash() == -signal.SIGSEGV
    bundle, = watcher.bundles(1)
    assert bundle.account["frames"][1]["file"].endswith("tests/programs/library.c")
    assert bundle.path(".executable").read_bytes() == elsewhere.program.read_bytes()
    with zipfile.ZipFile(bundle.path(".libs.zip")) as libs:
        assert libs.read(str(elsewhere.library)[1:]) == elsewhere.library.read_bytes()
