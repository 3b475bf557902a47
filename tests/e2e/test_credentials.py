"""Where the key that requests are signed with comes from: each source against a server that plays
it, and its errors; through the store layer's driver s3put, and in the end through a crash."""

import os
import pathlib
import signal
import subprocess
import time
import zipfile

import pytest
from aws_services import (HANG, EcsCredentials, Imds, Key, PodIdentity, Role, Sts, own_network)
from bundle import bundles
from conftest import AS_PID_1, BUILD, CORECTL, CRASH, pid_of_init
from environment import clean_environment
from s3_server import StrictS3, error

S3PUT = BUILD / "tests/s3put"
TOKEN = "eyJhbGciOi.web+identity/token=." + "x" * 2000


class Sender:
    """Sends to a strict server with what only the test sets."""

    def __init__(self, tmp_path, s3):
        self.tmp_path, self.s3 = tmp_path, s3

    def accept(self, key):
        """From here on the server knows this key alone."""
        self.s3.access_key_id, self.s3.secret_access_key = key.id, key.secret
        self.s3.token = key.token

    def __call__(self, *environments, size=100):
        env = clean_environment(HOME=self.tmp_path, S3_BUCKET=self.s3.bucket, AWS_MAX_ATTEMPTS=2,
                                AWS_ENDPOINT_URL_S3=self.s3.url, AWS_REGION=self.s3.region)
        for more in environments:
            env.update(more)
        env = {name: str(value) for name, value in env.items() if value is not None}
        path = self.tmp_path / "content"
        path.write_bytes(os.urandom(size))
        self.result = subprocess.run([S3PUT, "put", "object", path], env=env, text=True,
                                     capture_output=True, timeout=120)
        self.log = self.result.stdout + self.result.stderr
        return self.result.returncode == 0 and self.s3.objects.pop("object") == path.read_bytes()

    def profile(self, text):
        path = self.tmp_path / "config"
        path.write_text(text)
        return {"AWS_CONFIG_FILE": path}


@pytest.fixture
def s3(tmp_path):
    with StrictS3(tmp_path) as s3:
        yield s3


@pytest.fixture
def send(tmp_path, s3):
    return Sender(tmp_path, s3)


def file_with(path, text):
    path.write_text(text)
    return path


def test_a_web_identity_of_the_environment(send, tmp_path):
    with Sts(pod=Role(web_token=TOKEN)) as sts:
        send.accept(sts.keys[0])
        env = {**sts.env, "AWS_ROLE_ARN": sts.arn("pod"), "AWS_ROLE_SESSION_NAME": "a-pod",
               "AWS_WEB_IDENTITY_TOKEN_FILE": file_with(tmp_path / "token", TOKEN + "\n")}
        assert send(env), send.log
        assert f"role {sts.arn('pod')} by AWS_WEB_IDENTITY_TOKEN_FILE" in send.log
        assert [r.form["RoleSessionName"] for r in sts.requests] == ["a-pod"]

        (tmp_path / "token").write_text("another audience's")
        assert not send(env)
        assert "InvalidIdentityToken (400): Incorrect token audience" in send.log
        assert len(sts.requests) == 2  # that no second try helps is known


def test_a_web_identity_of_a_profile(send, tmp_path):
    with Sts(pod=Role(web_token=TOKEN)) as sts:
        send.accept(sts.keys[0])
        token = file_with(tmp_path / "token", TOKEN)
        assert send(sts.env, {"AWS_PROFILE": "p"}, send.profile(
            f"[profile p]\nrole_arn={sts.arn('pod')}\nweb_identity_token_file={token}\n")), send.log


def test_a_chain_of_roles(send):
    base, inner, outer = Key(token=""), Key(), Key()
    with Sts(inner, outer, inner=Role(by=base),
             outer=Role(by=inner, external_id="x/+ 1")) as sts:
        send.accept(outer)
        config = send.profile(
            f"[default]\nrole_arn={sts.arn('outer')}\nsource_profile=middle\n"
            "external_id=x/+ 1\nrole_session_name=me@there\nduration_seconds=900\n"
            f"[profile middle]\nrole_arn={sts.arn('inner')}\nsource_profile=base\n"
            f"[profile base]\naws_access_key_id={base.id}\naws_secret_access_key={base.secret}\n")
        assert send(sts.env, config), send.log
    forms = [request.form for request in sts.requests]
    assert [form["RoleArn"] for form in forms] == [sts.arn("inner"), sts.arn("outer")]
    assert "DurationSeconds" not in forms[0] and "ExternalId" not in forms[0]
    assert forms[1]["DurationSeconds"] == "900"
    assert forms[1]["RoleSessionName"] == "me@there"


def test_a_profile_with_a_key_is_its_own_source(send):
    base = Key(token="")
    with Sts(r=Role(by=base)) as sts:
        send.accept(sts.keys[0])
        config = send.profile(f"[default]\nrole_arn={sts.arn('r')}\nsource_profile=default\n"
                              f"aws_access_key_id={base.id}\naws_secret_access_key={base.secret}\n")
        assert send(sts.env, config), send.log


@pytest.mark.parametrize("source", ["EcsContainer", "Ec2InstanceMetadata"])
def test_a_role_by_a_named_source(send, source):
    base = Key()
    with Sts(r=Role(by=base)) as sts, PodIdentity(base) as pod, Imds(base) as imds:
        send.accept(sts.keys[0])
        env = {"EcsContainer": {**pod.env, "AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token},
               "Ec2InstanceMetadata": imds.env}[source]
        config = send.profile(f"[default]\nrole_arn={sts.arn('r')}\ncredential_source={source}\n")
        assert send(sts.env, config, env), send.log


@pytest.mark.parametrize("reply, words", [
    (Sts.refusal(403, "AccessDenied", "not authorized to perform sts:AssumeRole"), "AccessDenied"),
    (Sts.refusal(400, "ExpiredTokenException", "Token expired"), "Token expired"),
    ((200, b"<html>a captive portal</html>"), "not understood"),
    ((200, b"x" * 200000), "too long"),
    ((307, b""), "not understood"),
    ((404, b"{}"), "not understood"),
])
def test_what_sts_refuses_is_told_and_not_asked_again(send, reply, words):
    base = Key(token="")
    with Sts(r=Role(by=base)) as sts:
        sts.faults = [reply]
        config = send.profile(f"[default]\nrole_arn={sts.arn('r')}\nsource_profile=b\n[profile b]\n"
                              f"aws_access_key_id={base.id}\naws_secret_access_key={base.secret}\n")
        assert not send(sts.env, config)
        assert words in send.log
        assert base.secret not in send.log
        assert len(sts.requests) == 1


@pytest.mark.parametrize("reply", [Sts.refusal(503, "ServiceUnavailable"), (500, b""),
                                   (429, b"slow down")])
def test_what_may_pass_is_asked_for_again(send, reply):
    base = Key(token="")
    with Sts(r=Role(by=base)) as sts:
        sts.faults = [reply]
        send.accept(sts.keys[0])
        config = send.profile(f"[default]\nrole_arn={sts.arn('r')}\nsource_profile=b\n[profile b]\n"
                              f"aws_access_key_id={base.id}\naws_secret_access_key={base.secret}\n")
        assert send(sts.env, config), send.log
        assert len(sts.requests) == 2


def test_an_eks_pods_identity(send, tmp_path):
    with PodIdentity() as pod:
        send.accept(pod.keys[0])
        token = file_with(tmp_path / "token", pod.token)
        file = {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token}
        assert send(pod.env, file), send.log
        assert "the service that AWS_CONTAINER_CREDENTIALS_FULL_URI names" in send.log
        assert send(pod.env, {"AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token}), send.log
        # The file goes before the variable.
        assert send(pod.env, {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "old"}, file), send.log

        token.write_text("another pod's")
        assert not send(pod.env, file)
        assert "AccessDeniedException: Unauthorized Exception! EKS" in send.log
        assert "another pod's" not in send.log


@pytest.mark.parametrize("reply, words", [
    ((200, b"[]"), "no JSON object"),
    ((200, b'{"AccessKeyId": "A"}'), "SecretAccessKey is missing"),
    ((200, b'{"Code": "AssumeRoleUnauthorizedAccess"}'), "AssumeRoleUnauthorizedAccess"),
    ((302, b""), "gives no credentials (302)"),
    ((404, b"404 page not found"), "gives no credentials (404)"),
    ((200, b"{" * 200000), "too long"),
])
def test_a_container_endpoint_that_says_something_else(send, reply, words):
    with PodIdentity() as pod:
        pod.faults = [reply]
        assert not send(pod.env, {"AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token})
        assert words in send.log
        assert len(pod.requests) == 1  # not even where it is redirected to


def test_a_proxy_is_not_asked_for_metadata(send):
    with PodIdentity() as pod, Imds() as imds:
        send.accept(pod.keys[0])
        proxy = {"http_proxy": "http://127.0.0.1:1", "all_proxy": "http://127.0.0.1:1",
                 "no_proxy": f"127.0.0.1:{send.s3.server.server_port}"}
        token = {"AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token}
        send(pod.env, token, proxy)
        assert pod.requests
        send(imds.env, proxy)
        assert imds.requests


def test_an_ecs_tasks_role_at_its_address(tmp_path):
    with own_network("169.254.170.2"), StrictS3(tmp_path) as s3:
        send = Sender(tmp_path, s3)
        with EcsCredentials(address="169.254.170.2", port=80) as ecs:
            send.accept(ecs.keys[0])
            relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
            assert send({relative: ecs.path}), send.log
            # It goes before a full URI, where both are set.
            assert send({relative: ecs.path, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://x"})
            assert not send({relative: "/v2/credentials/another"})
            assert "InvalidIdInRequest: CredentialsV2Request: Credentials not found" in send.log
            assert "/v2/credentials" not in send.log


def test_an_eks_pods_identity_at_its_address(tmp_path):
    with own_network("169.254.170.23"), StrictS3(tmp_path) as s3:
        send = Sender(tmp_path, s3)
        with PodIdentity(address="169.254.170.23", port=80) as pod:
            send.accept(pod.keys[0])
            assert send({"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://169.254.170.23{pod.path}",
                         "AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token}), send.log


def test_an_ec2_instances_role_at_its_address(tmp_path):
    with own_network("169.254.169.254"), StrictS3(tmp_path) as s3:
        send = Sender(tmp_path, s3)
        with Imds(address="169.254.169.254", port=80) as imds:
            send.accept(imds.keys[0])
            assert send({"AWS_EC2_METADATA_DISABLED": None,
                         "AWS_METADATA_SERVICE_TIMEOUT": 30}), send.log
            assert "role web-server of the EC2 instance" in send.log
            asked = len(imds.requests)
            assert not send({"AWS_EC2_METADATA_DISABLED": "True"})
            assert len(imds.requests) == asked


def test_version_1_of_the_metadata_service_is_never_asked(send):
    with Imds() as imds:
        for reply in ((403, b""), (404, b""), (405, b""), (200, b""), (200, b"a\r\nHost: x")):
            imds.faults = [reply]
            assert not send(imds.env)
        assert {(r.method, r.path) for r in imds.requests} == {("PUT", "/latest/api/token")}


def test_a_hop_limit_of_one_costs_seconds_and_is_told(send):
    with Imds() as imds:
        imds.faults = [HANG] * 10
        assert not send(imds.env, {"AWS_METADATA_SERVICE_TIMEOUT": 1,
                                   "AWS_METADATA_SERVICE_NUM_ATTEMPTS": 1})
        assert "HttpPutResponseHopLimit" in send.log
        assert "GET" not in {request.method for request in imds.requests}


def test_a_metadata_token_that_expired_is_replaced(send):
    with Imds() as imds:
        send.accept(imds.keys[0])
        imds.faults = [None, None, (401, b"")]
        assert send(imds.env), send.log
        assert [r.method for r in imds.requests] == ["PUT", "GET", "GET", "PUT", "GET"]


@pytest.mark.parametrize("name", [b"../../secrets", b"a role", b"x" * 200])
def test_a_metadata_service_that_names_no_role(send, name):
    with Imds() as imds:
        imds.faults = [None, (200, name)]
        assert not send(imds.env)
        assert "names no role that could be one" in send.log


def test_an_instance_without_a_role_has_no_credentials(send):
    with Imds(role=None) as imds:
        assert not send(imds.env)
        assert "no AWS credentials" in send.log
        assert "the EC2 instance has no role" in send.log


def test_the_region_is_the_instances_where_nothing_else_tells(tmp_path):
    with StrictS3(tmp_path, region="eu-west-1", tls=["crashes.s3.eu-west-1.amazonaws.com"]) as s3:
        with Imds() as imds:
            send = Sender(tmp_path, s3)
            env = {**s3.proxy_env, **imds.env, "AWS_REGION": None, "AWS_ENDPOINT_URL_S3": None}
            assert send(env), send.log
        assert {request.host for request in s3.requests} == {"crashes.s3.eu-west-1.amazonaws.com"}


def test_sources_are_asked_in_the_sdks_order(send, tmp_path):
    keys = [Key() for _ in range(5)]
    with Sts(keys[2], pod=Role(web_token=TOKEN)) as sts, PodIdentity(keys[3]) as pod, \
            Imds(keys[4]) as imds:
        config = send.profile(f"[default]\naws_access_key_id={keys[1].id}\n"
                              f"aws_secret_access_key={keys[1].secret}\n"
                              f"aws_session_token={keys[1].token}\n")
        sources = [
            keys[0].environment,
            config,
            {**sts.env, "AWS_ROLE_ARN": sts.arn("pod"),
             "AWS_WEB_IDENTITY_TOKEN_FILE": file_with(tmp_path / "token", TOKEN)},
            {**pod.env, "AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token},
            imds.env,
        ]
        for n, key in enumerate(keys):
            send.accept(key)
            assert send(*sources[n:]), (n, send.log)
            asked = [bool(service.requests) for service in (sts, pod, imds)]
            assert asked == [n >= 2, n >= 3, n >= 4]  # and nobody before its turn


def test_a_key_that_expires_while_parts_are_sent_is_renewed(send, s3, tmp_path):
    old, new = Key(), Key()
    with Sts(old, new, pod=Role(web_token=TOKEN)) as sts:
        send.accept(old)
        token = file_with(tmp_path / "token", TOKEN)

        def expire(handler):
            send.accept(new)
            sts.roles[sts.arn("pod")].web_token = "renewed"  # the kubelet's file is read again
            token.write_text("renewed")
            return error(400, "ExpiredToken", "The provided token has expired.")(handler)

        s3.fail(expire, action="UploadPart")
        assert send({**sts.env, "AWS_ROLE_ARN": sts.arn("pod"),
                     "AWS_WEB_IDENTITY_TOKEN_FILE": token}, size=20 << 20), send.log
    assert [r.form["WebIdentityToken"] for r in sts.requests] == [TOKEN, "renewed"]
    assert s3.actions.count("CreateMultipartUpload") == 1
    assert not s3.aborted


def test_a_key_that_can_not_be_renewed_ends_the_upload_with_both_reasons(send, s3):
    with PodIdentity() as pod:
        send.accept(pod.keys[0])

        def expire(handler):
            pod.faults = [(401, b'{"code": "AccessDeniedException"}')] * 9
            return error(400, "ExpiredToken", "The provided token has expired.")(handler)

        s3.fail(expire, times=9)
        assert not send(pod.env, {"AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token})
    assert "ExpiredToken" in send.log


def contents(directory):
    """All bytes below a directory, and those in zips."""
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes()
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    for name in archive.namelist():
                        yield f"{path.name}:{name}", archive.read(name)


@pytest.fixture
def sources(tmp_path):
    """Environment and secrets of each source."""
    base, printed = Key(token=""), Key()
    process = file_with(tmp_path / "process.py",
                        f"import sys\nprint({base.secret!r}, file=sys.stderr)\n"
                        f"print({printed.json(Version=1).decode()!r})\n")
    with Sts(pod=Role(web_token=TOKEN), r=Role(by=base)) as sts, PodIdentity() as pod, \
            Imds() as imds:
        config = file_with(
            tmp_path / "config",
            f"[profile role]\nrole_arn={sts.arn('r')}\nsource_profile=key\n"
            f"[profile key]\naws_access_key_id={base.id}\naws_secret_access_key={base.secret}\n"
            f"[profile process]\ncredential_process=/usr/bin/python3 {process}\n")
        token = file_with(tmp_path / "token", TOKEN)
        profiles = {"AWS_CONFIG_FILE": config}
        of_sts = [sts.keys[0].secret, sts.keys[0].token]
        yield {
            "role": ({**sts.env, **profiles, "AWS_PROFILE": "role"}, [base.secret, *of_sts]),
            "key": ({**profiles, "AWS_PROFILE": "key"}, [base.secret]),
            "process": ({**profiles, "AWS_PROFILE": "process"},
                        [base.secret, printed.secret]),
            "web identity": ({**sts.env, "AWS_ROLE_ARN": sts.arn("pod"),
                              "AWS_WEB_IDENTITY_TOKEN_FILE": token}, [TOKEN[:40], *of_sts]),
            "container": ({**pod.env, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE":
                           file_with(tmp_path / "pod-token", pod.token)},
                          [pod.token, pod.keys[0].secret, pod.keys[0].token]),
            "instance": (imds.env, [imds.keys[0].secret, imds.keys[0].token]),
        }


@pytest.mark.parametrize("source", ["role", "key", "process", "web identity", "container",
                                    "instance"])
def test_no_secret_is_in_the_log_or_in_the_bundle(run, without_gdb, s3, sources, source):
    """At the highest log level, sent or refused, from the collector to the last file."""
    env, secrets = sources[source]
    for refused in (False, True):
        s3.access_key_id = "ASIAANOTHER" if refused else s3.access_key_id
        result = run("-vvv", "--", CRASH, "segv",
                     env={"PATH": without_gdb, "S3_BUCKET": s3.bucket, "AWS_REGION": s3.region,
                          "AWS_ENDPOINT_URL_S3": s3.url, "AWS_MAX_ATTEMPTS": 1, **env})
        assert "AWS credentials are those of" in result.stderr
        assert bundles(run.cores)
        for secret in secrets:
            assert secret not in result.stdout + result.stderr
            for name, content in contents(run.cores):
                assert secret.encode() not in content, name


def processes_of(program, cwd):
    """The pids of those who run a file there, as far as they can be seen."""
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if (entry.name.isdigit() and (entry / "exe").readlink() == program
                    and (entry / "cwd").readlink() == cwd):
                yield int(entry.name)
        except OSError:
            pass  # it ended, or it is a thread of the kernel's


def statuses_of_threads(pid):
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        try:
            yield status.read_text()
        except OSError:
            pass  # it ended


def settings_of(s3):
    return {"S3_BUCKET": s3.bucket, "AWS_ENDPOINT_URL_S3": s3.url, "AWS_REGION": s3.region}


def owners_of_environments(pids):
    for pid in pids:
        try:
            yield os.stat(f"/proc/{pid}/environ").st_uid
        except OSError:
            pass  # it ended


def test_nobody_else_reads_the_collectors_memory(run_for_all, without_gdb, s3):
    """The files in /proc of a process that isn't dumpable are root's: prctl(2)."""
    program = run_for_all.coreinit.parent
    with PodIdentity() as pod:
        pod.faults = [HANG]
        process = run_for_all.start("--", program / "crash", "segv", pid1=False,
                                    wrapper=["setpriv", "--reuid=1000", "--regid=1000",
                                             "--clear-groups"],
                                    env={"PATH": without_gdb, **settings_of(s3), **pod.env})
        pod.wait_for_request()
        owners = set(owners_of_environments(processes_of(program / "corectl", run_for_all.cwd)))
        pod.stopping.set()
        process.communicate(timeout=120)
    assert owners == {0}


def test_who_asks_for_credentials_has_given_up_its_privileges(run, s3):
    with PodIdentity() as pod:
        pod.faults = [HANG]
        process = run.start("--", CRASH, "segv", env={**settings_of(s3), **pod.env})
        pod.wait_for_request()
        statuses = [status for pid in processes_of(CORECTL, run.cwd)
                    for status in statuses_of_threads(pid)]
        pod.stopping.set()
        process.communicate(timeout=120)
    cap_dac_read_search = 1 << 2  # for a key file of another user's
    assert [text for text in statuses if "NoNewPrivs:\t1" in text
            and f"CapEff:\t{cap_dac_read_search:016x}" in text]


def test_a_source_that_hangs_costs_no_bundle(run, without_gdb, s3):
    """Stopped meanwhile, it is whole on the disk, and sent by whoever comes next."""
    with PodIdentity() as pod:
        pod.faults = [HANG] * 9
        s3.access_key_id, s3.secret_access_key = pod.keys[0].id, pod.keys[0].secret
        s3.token = pod.keys[0].token
        env = {"PATH": without_gdb, **settings_of(s3), **pod.env,
               "AWS_CONTAINER_AUTHORIZATION_TOKEN": pod.token}
        process = run.start("--stop-timeout", 8, "--", CRASH, "segv", env=env)
        pod.wait_for_request()
        deadline = time.monotonic() + 60
        while not list(run.cores.glob("*.libs.zip")) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(pid_of_init(process), signal.SIGTERM)
        _, log = process.communicate(timeout=120)
        assert process.returncode == 139
        [bundle] = bundles(run.cores)
        assert bundle.account["artifacts"]["core"]["in_cores_dir"], log
        assert not s3.objects

        pod.faults.clear()
        swept = subprocess.run([*AS_PID_1, CORECTL, "upload", "--sweep"], env=run.environment(**env),
                               capture_output=True, text=True, timeout=120)
        assert swept.returncode == 0, swept.stderr
        assert f"issue/{bundle.id}.core.zip" in s3.objects
