"""Connecting to the store that the settings name."""

import logging
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from signet.errors import InvalidSetting
from signet.home_paths import expand_home
from signet.store.base import ObjectStore
from signet.store.directory import DirectoryStore
from signet.store.settings import StoreSettings

if TYPE_CHECKING:
    from signet.security.signatures import ModelKeys

_log = logging.getLogger(__name__)

_FORMS = "Write http://host:port/bucket, https://host:port/bucket or file:<directory>."
_REGION = re.compile(r"[a-z0-9][a-z0-9_-]{0,61}[a-z0-9]|[a-z0-9]")


def open_store(settings: StoreSettings, *, must_exist: bool = False, writable: bool = False) -> ObjectStore:
    """Connect to the store that the settings name.

    A missing bucket is made here. A missing directory is made by the first write.

    Args:
        settings: where the store is.
        must_exist: for a command that only makes sense with a store that has content. Nothing is made.
        writable: for a command that will write. A directory that cannot be written to is found out here.

    Raises:
        InvalidSetting: Signet does not know this kind of URL, the credentials are missing, or a key for models cannot
            be used.
        NotFound: there is no store, and it must exist.
        Unavailable: the store cannot be used; the message says why.
    """
    model_keys = _read_model_keys(settings)
    url = settings.store.strip()
    parts = _split(url)
    if parts.scheme == "file":
        store: ObjectStore = _open_directory(url, must_exist, writable)
    else:
        store = _open_s3(url, parts, settings, must_exist)
    store.model_keys = model_keys
    return store


def _read_model_keys(settings: StoreSettings) -> "ModelKeys | None":
    """The keys that the settings name; None if they name none."""
    if settings.model_signing_key is None and settings.model_trusted_keys is None:
        return None
    from signet.security.signatures import read_model_keys  # noqa: PLC0415  (it takes 70 ms to load)

    return read_model_keys(settings.model_signing_key, settings.model_trusted_keys)


def _open_directory(url: str, must_exist: bool, writable: bool) -> DirectoryStore:
    store = DirectoryStore(_directory(url))
    if writable:
        store.check_writable()
    if must_exist:
        store.check_exists()
    elif not store.root.exists():
        _log.info("%s: there is no store here yet. The first write makes it.", store.url)
    return store


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (it is checked when it is read)
    except ValueError as error:
        raise InvalidSetting(f"SIGNET_STORE={_hide_password(url)!r} names no store ({error}). {_FORMS}") from error
    return parts


def _directory(url: str) -> Path:
    """The directory of a file: URL. It may be relative, and may begin with ~ or ~user.

    Raises:
        InvalidSetting: the URL names no directory of this machine.
    """
    # What follows the scheme is a path: # and ? have no other meaning in it.
    path = unquote(url.partition(":")[2])
    if path.startswith("//"):
        host, slash, rest = path[2:].partition("/")
        if host.startswith("~"):
            path = f"{host}{slash}{rest}"
        elif host in {"", "localhost"}:
            path = f"/{rest}"
        else:
            raise InvalidSetting(
                f"SIGNET_STORE={url!r} names the host {host!r} and not a directory of it. Write file:{path[2:]} for a "
                f"relative path, or file://{path[1:]} for an absolute one."
            )
    if not path or "\0" in path:
        raise InvalidSetting(f"SIGNET_STORE={url!r} names no directory. {_FORMS}")
    try:
        return expand_home(Path(path))
    except ValueError as error:
        raise InvalidSetting(f"SIGNET_STORE={url!r}: {error}.") from error


def _open_s3(url: str, parts: SplitResult, settings: StoreSettings, must_exist: bool) -> ObjectStore:
    bucket = parts.path.strip("/")
    if parts.username is not None or parts.password is not None:
        raise InvalidSetting(
            f"SIGNET_STORE={_hide_password(url)!r}: a user has no place in the URL, since a URL is logged. Set "
            "SIGNET_S3_ACCESS_KEY and SIGNET_S3_SECRET_KEY."
        )
    known = parts.scheme in {"http", "https"} and parts.hostname and not parts.query and not parts.fragment
    if not known or not bucket or "/" in bucket:
        raise InvalidSetting(f"SIGNET_STORE={url!r} names no store. {_FORMS}{_suggestion(url, parts)}")
    keys = settings.s3_keys()
    # The minio client takes as long to load as everything else that `signet runs` needs.
    from signet.store.s3 import S3Store, region_of_host  # noqa: PLC0415

    try:
        region = settings.region(region_of_host(f"{parts.scheme}://{parts.netloc}"))
        if not _REGION.fullmatch(region):
            raise InvalidSetting(
                f"SIGNET_S3_REGION={region!r} cannot be the name of a region. An example: eu-central-1."
            )
        return S3Store(
            parts.netloc,
            bucket,
            keys.access_key,
            keys.secret_key,
            secure=parts.scheme == "https",
            session_token=keys.session_token,
            key_variables=keys.variables,
            region=region,
            addressing=settings.s3_addressing,
            trust=_trust(settings.ca_bundle()) if parts.scheme == "https" else None,
            make_bucket=not must_exist,
            cache=settings.cache,
        )
    except ValueError as error:  # the client refuses the name of the host or the bucket
        raise InvalidSetting(f"SIGNET_STORE={url!r}: {error}.") from error


def _trust(bundle: Path | None) -> ssl.SSLContext | None:
    """The TLS settings that trust the authorities of a bundle; None for those of the system."""
    if bundle is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if bundle.is_dir():
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise InvalidSetting(
            f"SIGNET_S3_CA_BUNDLE={bundle}: cannot be used ({reason}). It must be a PEM file with the certificates of "
            "the authorities to trust. Without this setting, AWS_CA_BUNDLE counts."
        ) from error
    return context


def _suggestion(url: str, parts: SplitResult) -> str:
    """What the user probably means; "" if that is not known."""
    if parts.scheme == "s3":
        bucket = parts.netloc or "bucket"
        return f" For AWS this is https://s3.<region>.amazonaws.com/{bucket}."
    if not parts.scheme:
        return f" For the directory {url} this is file:{url}."
    return ""


def _hide_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//***@", url)
