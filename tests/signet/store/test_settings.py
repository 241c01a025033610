"""The settings of an S3 server: region, session token, addressing and trusted authorities, also under AWS's names."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.local.seaweedfs import LocalStore
from signet.errors import AlreadyExists, Conflict, InvalidSetting, NotFound, Unavailable
from signet.store import StoreSettings, open_store
from signet.store.s3 import region_of_host
from signet.store.settings import read_store_settings
from tests.signet.store.conftest import Answer, ScriptedServer, s3_error

StartServer = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the person who runs the tests counts."""
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION", "CA_BUNDLE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("ACCESS_KEY", "SECRET_KEY", "SECRET_KEY_FILE", "SESSION_TOKEN", "REGION", "ADDRESSING", "CA_BUNDLE"):
        monkeypatch.delenv(f"SIGNET_S3_{name}", raising=False)
    yield


def use(monkeypatch: pytest.MonkeyPatch, **variables: str) -> StoreSettings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_store_settings()


OWN = {"SIGNET_S3_ACCESS_KEY": "user", "SIGNET_S3_SECRET_KEY": "secret"}
AWS = {"AWS_ACCESS_KEY_ID": "ASIAUSER", "AWS_SECRET_ACCESS_KEY": "aws", "AWS_SESSION_TOKEN": "token"}


def scope_and_token(server: ScriptedServer) -> set[tuple[str, str, str]]:
    """The user, the region and the session token of all requests that the server has received."""
    found = set()
    for request in server.requests:
        signed = request.headers.get("authorization", "") or request.path.replace("%2F", "/")
        scope = re.search(r"Credential=([^/]+)/\d{8}/([^/]+)/s3/aws4_request", signed)
        assert scope is not None, signed
        token = (
            request.headers.get("x-amz-security-token", "")
            or (re.findall(r"X-Amz-Security-Token=([^&]+)", request.path) or [""])[0]
        )
        found.add((scope[1], scope[2], token))
    return found


def use_all_requests(settings: StoreSettings, server: ScriptedServer) -> None:
    """Send each kind of request: signed by headers, and presigned."""
    store = open_store(settings)
    server.answer = Answer(200, b"data", headers={"ETag": '"e"'})
    store.put("k", b"data")
    store.create("l", b"data")
    store.replace("l", b"data", "e")
    assert store.get("k") == b"data"
    assert store.stat("k") is not None
    assert list(store.list("")) == []
    store.delete("k")
    assert {request.method for request in server.requests} == {"GET", "HEAD", "PUT", "DELETE"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param(OWN, ("user", "us-east-1", ""), id="default"),
        pytest.param({**OWN, "SIGNET_S3_REGION": "eu-central-1"}, ("user", "eu-central-1", ""), id="region"),
        pytest.param({**OWN, "AWS_REGION": "eu-west-3"}, ("user", "eu-west-3", ""), id="region of AWS"),
        pytest.param({**OWN, "AWS_DEFAULT_REGION": "eu-west-3"}, ("user", "eu-west-3", ""), id="default region of AWS"),
        pytest.param(
            {**OWN, "AWS_DEFAULT_REGION": "a", "AWS_REGION": "b", "SIGNET_S3_REGION": "garage"},
            ("user", "garage", ""),
            id="the more special variable counts",
        ),
        pytest.param({**OWN, "SIGNET_S3_SESSION_TOKEN": "mine"}, ("user", "us-east-1", "mine"), id="token"),
        pytest.param(AWS, ("ASIAUSER", "us-east-1", "token"), id="keys of AWS"),
        pytest.param({**AWS, "SIGNET_S3_SESSION_TOKEN": "mine"}, ("ASIAUSER", "us-east-1", "mine"), id="both tokens"),
        pytest.param({**OWN, **AWS}, ("user", "us-east-1", ""), id="a token of another user is not used"),
        pytest.param(
            {**AWS, "SIGNET_S3_ACCESS_KEY": "ASIAUSER", "SIGNET_S3_SECRET_KEY": "aws"},
            ("ASIAUSER", "us-east-1", "token"),
            id="a token of the same user is used",
        ),
        pytest.param({**OWN, "SIGNET_S3_REGION": "", "AWS_REGION": "eu-west-3"}, ("user", "eu-west-3", ""), id="empty"),
    ],
)
def test_region_and_session_token_are_part_of_each_request(
    scripted_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    expected: tuple[str, str, str],
) -> None:
    use_all_requests(use(monkeypatch, SIGNET_STORE=scripted_server.url, **variables), scripted_server)
    assert scope_and_token(scripted_server) == {expected}


def test_the_region_in_the_name_of_an_aws_host_counts_more_than_a_variable_of_aws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable is the user's usual region; the host is where this bucket is."""
    settings = use(monkeypatch, AWS_REGION="us-west-2", **OWN)
    assert settings.region(region_of_host("https://s3.eu-central-1.amazonaws.com")) == "eu-central-1"
    assert settings.region(region_of_host("https://s3.amazonaws.com")) == "us-west-2"
    assert settings.region(region_of_host("http://127.0.0.1:9000")) == "us-west-2"
    settings = use(monkeypatch, SIGNET_S3_REGION="eu-west-1")
    assert settings.region(region_of_host("https://s3.eu-central-1.amazonaws.com")) == "eu-west-1"


def test_a_missing_bucket_is_made_in_the_chosen_region(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_server.listing = s3_error(404, "NoSuchBucket")
    open_store(use(monkeypatch, SIGNET_STORE=scripted_server.url, SIGNET_S3_REGION="eu-central-1", **OWN))
    made = scripted_server.requests[-1]
    assert (made.method, made.path) == ("PUT", "/bucket")
    assert b"<LocationConstraint>eu-central-1</LocationConstraint>" in made.body


@pytest.mark.parametrize(
    ("addressing", "host", "path"),
    [("auto", "localhost", "/bucket"), ("path", "localhost", "/bucket"), ("virtual", "bucket.localhost", "/")],
)
def test_the_bucket_is_part_of_the_path_or_of_the_host(
    scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, addressing: str, host: str, path: str
) -> None:
    url = scripted_server.url.replace("127.0.0.1", "localhost")
    settings = use(monkeypatch, SIGNET_STORE=url, SIGNET_S3_ADDRESSING=addressing, **OWN)
    _resolve_all_to_this_machine(monkeypatch)
    use_all_requests(settings, scripted_server)
    for request in scripted_server.requests:
        assert request.headers["host"] == f"{host}:{scripted_server.server_port}"
        assert request.path.partition("?")[0].removesuffix("/k").removesuffix("/l") in {path, ""}


def _resolve_all_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """bucket.localhost is no name that each system knows."""
    import socket  # noqa: PLC0415

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: real("127.0.0.1", *rest, **more))


def test_a_name_with_the_bucket_that_does_not_resolve_is_named_with_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = use(
        monkeypatch, SIGNET_STORE="http://no-such-host.invalid/bucket", SIGNET_S3_ADDRESSING="virtual", **OWN
    )
    with pytest.raises(Unavailable, match=r"'bucket\.no-such-host\.invalid' cannot be resolved.*ADDRESSING=path"):
        open_store(settings)


@pytest.mark.parametrize("variable", ["SIGNET_S3_CA_BUNDLE", "AWS_CA_BUNDLE"])
def test_a_bundle_makes_a_certificate_trusted(
    tls_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    server = tls_server()
    (certificate,) = tmp_path.glob("*.pem")
    with pytest.raises(Unavailable, match=r"does not trust the certificate.*SIGNET_S3_CA_BUNDLE"):
        open_store(use(monkeypatch, SIGNET_STORE=server.url, **OWN))
    settings = use(monkeypatch, **{variable: str(certificate)})
    use_all_requests(settings, server)


def test_a_certificate_for_another_name_is_refused_even_if_it_is_trusted(
    tls_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tls_server("DNS:store.example.org")
    (certificate,) = tmp_path.glob("*.pem")
    settings = use(monkeypatch, SIGNET_STORE=server.url, SIGNET_S3_CA_BUNDLE=str(certificate), **OWN)
    with pytest.raises(Unavailable, match=r"is for another name.*127\.0\.0\.1"):
        open_store(settings)


def test_an_expired_certificate_is_named_as_that(
    tls_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tls_server(expired=True)
    (certificate,) = tmp_path.glob("*.pem")
    settings = use(monkeypatch, SIGNET_STORE=server.url, SIGNET_S3_CA_BUNDLE=str(certificate), **OWN)
    with pytest.raises(Unavailable, match=r"has expired.*clock"):
        open_store(settings)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_text(content)
    settings = use(monkeypatch, SIGNET_STORE="https://host/bucket", SIGNET_S3_CA_BUNDLE=str(bundle), **OWN)
    with pytest.raises(InvalidSetting, match=r"SIGNET_S3_CA_BUNDLE=.*ca\.pem: cannot be used"):
        open_store(settings)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SIGNET_S3_ADDRESSING": "dns"}, "SIGNET_S3_ADDRESSING=dns"),
        ({"SIGNET_S3_CA_BUNDLE": "~no-such-user-here/ca.pem"}, "SIGNET_S3_CA_BUNDLE=~no-such-user-here"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidSetting, match=words):
        use(monkeypatch, **variables)


def test_a_region_that_cannot_be_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = use(monkeypatch, SIGNET_STORE="http://host/bucket", SIGNET_S3_REGION="EU (Frankfurt)", **OWN)
    with pytest.raises(InvalidSetting, match=r"SIGNET_S3_REGION='EU .Frankfurt.'"):
        open_store(settings)


@pytest.mark.parametrize(
    ("code", "variables", "words"),
    [
        ("ExpiredToken", AWS, "has expired.*new temporary keys.*AWS_ACCESS_KEY_ID"),
        ("InvalidToken", AWS, "does not accept the session token"),
        ("InvalidTokenId", OWN, "Temporary keys need SIGNET_S3_SESSION_TOKEN"),
        ("InvalidAccessKeyId", {**AWS, "AWS_SESSION_TOKEN": ""}, "'ASIAUSER'.*AWS_ACCESS_KEY_ID.*SESSION_TOKEN"),
        ("SignatureDoesNotMatch", AWS, "'ASIAUSER'.*AWS_SECRET_ACCESS_KEY"),
        ("SecondLevelDomainForbidden", OWN, "SIGNET_S3_ADDRESSING=virtual"),
    ],
)
def test_an_error_names_the_variables_that_the_keys_came_from(
    scripted_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    variables: dict[str, str],
    words: str,
) -> None:
    scripted_server.fault(s3_error(400, code))
    with pytest.raises(Unavailable, match=words):
        open_store(use(monkeypatch, SIGNET_STORE=scripted_server.url, **variables))


def test_missing_keys_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variables in ({}, {"SIGNET_S3_ACCESS_KEY": "user"}, {"AWS_ACCESS_KEY_ID": "user"}):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InvalidSetting, match="AWS_ACCESS_KEY_ID"):
            open_store(use(patch, SIGNET_STORE="http://host/bucket", **variables))


def test_a_real_server_is_used_with_another_region_than_the_default(s3_server: LocalStore) -> None:
    given = s3_server.environment
    settings = StoreSettings(
        store=f"{given['SIGNET_STORE']}-eu",
        s3_access_key=given["SIGNET_S3_ACCESS_KEY"],
        s3_secret_key=SecretStr(given["SIGNET_S3_SECRET_KEY"]),
        s3_region="eu-central-1",
    )
    with pytest.raises(NotFound, match=r"there is no store here.*signet-eu"):
        open_store(settings, must_exist=True)
    store = open_store(settings)
    store.create("k", b"one")
    with pytest.raises(AlreadyExists):
        store.create("k", b"two")
    _, etag = store.get_versioned("k")
    store.replace("k", b"three", etag)
    with pytest.raises(Conflict):
        store.replace("k", b"four", etag)
    assert store.get("k") == b"three"
    assert [info.key for info in open_store(settings, must_exist=True).list("")] == ["k"]
