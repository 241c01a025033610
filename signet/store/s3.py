"""The store on an S3 endpoint, through the minio client."""

import base64
import hashlib
import logging
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

import urllib3
from minio.helpers import BaseURL, check_bucket_name
from urllib3.response import BaseHTTPResponse

from signet.errors import AlreadyExists, Conflict, NotFound, Unavailable
from signet.store.base import ObjectInfo
from signet.store.cache import Cache
from signet.store.s3_failures import explain_failure
from signet.store.s3_http import RefusedRequest, S3Address, S3PoolManager
from signet.store.s3_listing import ListingClient
from signet.store.s3_refusals import explain_missing_bucket, explain_refusal
from signet.store.settings import DEFAULT_REGION

if TYPE_CHECKING:
    from signet.security.signatures import ModelKeys

_log = logging.getLogger(__name__)

# A store nearby answers in milliseconds; a lost one must be noticed before the deadlines of callers.
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0
# The last answer is kept, since it says why the store refuses. A proxy's page may ask for a pause of an hour.
_RETRIES = urllib3.Retry(
    total=3,
    backoff_factor=0.2,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
    respect_retry_after_header=False,
)

# No object has a key with this prefix.
_NO_PREFIX = "probe/none/"

# A presigned URL bears as large an error of the clock as any other request.
_URL_EXPIRES = timedelta(minutes=15)

# Another process has made the bucket in the meantime.
_MADE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def region_of_host(url: str) -> str:
    """The region that an AWS host belongs to; "" for other hosts.

    Raises:
        ValueError: the URL names no host that can be used.
    """
    return BaseURL(url, None).region or ""


class S3Store:
    """Objects in a bucket.

    Args:
        endpoint: host:port.
        bucket: its name.
        access_key: the user.
        secret_key: the user's secret.
        secure: whether to use TLS.
        session_token: of temporary keys; "" for other keys.
        key_variables: the environment variables to name if the keys are refused.
        region: it is part of each signature.
        addressing: "path" for host/bucket, "virtual" for bucket.host, "auto" for what the host usually needs.
        trust: the certificates to trust; None for those of the system.
        make_bucket: whether to make the bucket if it is missing.
        cache: directory for copies of large, immutable objects on this machine; without it, there are no copies.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        session_token: str = "",
        key_variables: str = "SIGNET_S3_ACCESS_KEY and SIGNET_S3_SECRET_KEY",
        region: str = DEFAULT_REGION,
        addressing: Literal["auto", "path", "virtual"] = "auto",
        trust: ssl.SSLContext | None = None,
        make_bucket: bool = True,
        cache: Path | None = None,
    ) -> None:
        self.url = f"{'https' if secure else 'http'}://{endpoint}/{bucket}"
        self.cache = Cache(cache)
        self.model_keys: ModelKeys | None = None
        self._bucket = bucket
        check_bucket_name(bucket)
        self._address = S3Address(
            self.url,
            endpoint,
            bucket,
            access_key,
            secure,
            region,
            has_token=bool(session_token),
            virtual=addressing == "virtual",
            key_variables=key_variables,
        )
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self._http = S3PoolManager(bucket, timeout=timeout, retries=_RETRIES, maxsize=16, ssl_context=trust)
        # With a region, the client does not have to ask for it.
        self._client = ListingClient(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token or None,
            secure=secure,
            region=region,
            http_client=self._http,
        )
        if addressing == "virtual":
            self._client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        elif addressing == "path":
            self._client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        with self._reached(""):
            self._connect(make_bucket)

    def _connect(self, make_bucket: bool) -> None:
        """Prove that an S3 server answers, and that there is a bucket.

        Listing proves it: the answer to HEAD has no body, so it cannot say what is wrong, and any web server sends one.
        """
        try:
            next(self._client.list_infos(self._bucket, _NO_PREFIX), None)
        except RefusedRequest as refused:
            if refused.code != "NoSuchBucket":
                raise
            if not make_bucket:
                raise NotFound(explain_missing_bucket(self._address)) from None
            try:
                self._client.make_bucket(self._bucket)
                _log.info("%s: made the bucket", self.url)
            except RefusedRequest as refused_bucket:
                if refused_bucket.code not in _MADE:
                    raise

    def get(self, key: str) -> bytes:
        return self._read(key)[0]

    def get_head(self, key: str, length: int) -> bytes:
        return self._read(key, length)[0]

    def get_head_versioned(self, key: str, length: int) -> tuple[bytes, str]:
        return self._read(key, length)

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        return self.cache.copy(sha256, lambda: self.get(key), f"{self.url}/{key}")

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._read(key)

    def put(self, key: str, data: bytes) -> None:
        with self._reached(key):
            self._write(key, data, {})

    def create(self, key: str, data: bytes) -> str:
        etag = self._put_if(key, data, {"If-None-Match": "*"})
        if etag is None:
            raise AlreadyExists(f"{self.url}/{key}: exists already and is immutable.")
        return etag

    def replace(self, key: str, data: bytes, etag: str) -> str:
        new_etag = self._put_if(key, data, {"If-Match": f'"{etag}"'})
        if new_etag is None:
            raise Conflict(f"{self.url}/{key}: was changed by another writer. Read it again, then retry.")
        return new_etag

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            with self._reached(key):
                status = self._client.stat_object(self._bucket, key)
        except NotFound:
            return None
        return ObjectInfo(key, status.size or 0, status.etag or "")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._reached(""):
            yield from self._client.list_infos(self._bucket, prefix)

    def delete(self, key: str) -> None:
        with self._reached(key):
            self._client.remove_object(self._bucket, key)

    def _read(self, key: str, length: int = 0) -> tuple[bytes, str]:
        with self._reached(key):
            try:
                response = self._client.get_object(self._bucket, key, offset=0, length=length)
            except RefusedRequest as refused:
                if length and refused.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b"", ""  # an empty object has no first bytes
                raise
            try:
                return response.read(), str(response.headers.get("etag", "")).strip('"')
            finally:
                response.close()
                response.release_conn()

    def _put_if(self, key: str, data: bytes, condition: Mapping[str, str]) -> str | None:
        """Write under a condition, and return the etag of the new object; None if the condition does not hold."""
        with self._reached(key):
            try:
                # No retries: after a lost answer, a retry would find our own object and take it for another writer's.
                answer = self._write(key, data, condition, retries=False)
            except RefusedRequest as refused:
                # 409: two conditional writes at the same time, and this one lost.
                lost = refused.status in {409, 412}
                missing = refused.status == 404 and refused.code != "NoSuchBucket" and not refused.is_web_page
                if lost or (missing and "If-Match" in condition):
                    return None
                raise
        return str(answer.headers.get("etag", "")).strip('"')

    def _write(self, key: str, data: bytes, headers: Mapping[str, str], **settings: Any) -> BaseHTTPResponse:
        """Send an object. The store compares it with its digest.

        A writer can be killed between the headers of a request and the data. SeaweedFS (4.48) then stores an empty
        object, unless the headers have a digest. `Minio.put_object` (7.2.20) sends none, and turns unknown headers into
        metadata of the user, so that a condition would be lost. With a presigned URL, all headers arrive.
        """
        url = self._client.get_presigned_url("PUT", self._bucket, key, expires=_URL_EXPIRES)
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        return self._http.request("PUT", url, body=data, headers={"Content-MD5": digest, **headers}, **settings)

    @contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        """Turn each failure of the client into an error of Signet."""
        try:
            yield
        except RefusedRequest as refused:
            if key and refused.is_missing_object:
                raise NotFound(f"{self.url}/{key}: no such object.") from None
            raise Unavailable(explain_refusal(self._address, refused)) from refused
        # ValueError: the client cannot read a number or a time in an answer.
        except (urllib3.exceptions.HTTPError, ElementTree.ParseError, ValueError) as error:
            raise Unavailable(explain_failure(self._address, error)) from error
