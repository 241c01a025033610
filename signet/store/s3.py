"""The store on an S3 endpoint, through the minio client."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from signet.errors import AlreadyExists, Conflict, NotFound, Unavailable
from signet.store.base import ObjectInfo
from signet.store.cache import Cache

# A store on the same host answers in milliseconds; a lost one must be noticed before a caller's own deadline.
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0
_RETRIES = urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), allowed_methods=None)

_GONE = {"NoSuchKey", "NoSuchObject", "NoSuchBucket"}


class S3Store:
    """Objects in one bucket, made if it is not there.

    Args:
        endpoint: host:port.
        bucket: its name.
        access_key: the user.
        secret_key: the user's secret.
        secure: TLS or not.
        region: fixed, so that the client need not ask for it.
        cache: where copies of what is large and immutable are kept on this machine; None keeps none.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
        region: str = "us-east-1",
        cache: Path | None = None,
    ) -> None:
        self.url = f"{'https' if secure else 'http'}://{endpoint}/{bucket}"
        self.cache = Cache(cache)
        self._bucket = bucket
        timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        self._http = urllib3.PoolManager(timeout=timeout, retries=_RETRIES, maxsize=16)
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            region=region,
            http_client=self._http,
        )
        with self._reached(""):
            if not self._client.bucket_exists(bucket):
                try:
                    self._client.make_bucket(bucket)
                except S3Error as error:
                    if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                        raise

    def get(self, key: str) -> bytes:
        return self._read(key)[0]

    def get_head(self, key: str, length: int) -> bytes:
        return self._read(key, length)[0]

    def get_mapped(self, key: str, sha256: str) -> memoryview:
        return self.cache.copy(sha256, lambda: self.get(key), f"{self.url}/{key}")

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._read(key)

    def put(self, key: str, data: bytes) -> None:
        with self._reached(key):
            self._client.put_object(self._bucket, key, io.BytesIO(data), len(data))

    def create(self, key: str, data: bytes) -> None:
        if not self._put_if(key, data, {"If-None-Match": "*"}):
            raise AlreadyExists(f"{self.url}/{key}: exists already, and it is immutable.")

    def replace(self, key: str, data: bytes, etag: str) -> None:
        if not self._put_if(key, data, {"If-Match": f'"{etag}"'}):
            raise Conflict(f"{self.url}/{key}: was changed by somebody else. Read it again, then retry.")

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            with self._reached(key):
                found = self._client.stat_object(self._bucket, key)
        except NotFound:
            return None
        return ObjectInfo(key, found.size or 0, found.etag or "")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._reached(prefix):
            for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if found.object_name and not found.is_dir:
                    yield ObjectInfo(found.object_name, found.size or 0, (found.etag or "").strip('"'))

    def delete(self, key: str) -> None:
        with self._reached(key):
            self._client.remove_object(self._bucket, key)

    def _read(self, key: str, length: int = 0) -> tuple[bytes, str]:
        with self._reached(key):
            response = self._client.get_object(self._bucket, key, offset=0, length=length)
            try:
                return response.read(), str(response.headers.get("etag", "")).strip('"')
            finally:
                response.close()
                response.release_conn()

    def _put_if(self, key: str, data: bytes, condition: Mapping[str, str]) -> bool:
        """Write under a precondition; False if it does not hold.

        `Minio.put_object` turns unknown headers into user metadata and so drops the precondition without a word
        (7.2.20); on a presigned URL the header arrives.
        """
        with self._reached(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=5))
            # A retry after a lost answer would meet our own object and call it somebody else's: so none is made.
            response = self._http.request("PUT", url, body=data, headers=condition, retries=False)
        # 409: two conditional writes met, and this one lost.
        if response.status in {409, 412} or (response.status == 404 and "If-Match" in condition):
            return False
        if response.status != 200:
            raise Unavailable(f"{self.url}/{key}: the store refused a write ({_fault(response)}).")
        return True

    @contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        """Say every failure of the client in the store's own words."""
        try:
            yield
        except S3Error as error:
            if error.code in _GONE:
                raise NotFound(f"{self.url}/{key}: no such object.") from error
            raise Unavailable(
                f"{self.url}: the store refused ({error.code}: {error.message}). Check SIGNET_S3_ACCESS_KEY and "
                "SIGNET_S3_SECRET_KEY."
            ) from error
        except (urllib3.exceptions.HTTPError, ServerError, InvalidResponseError) as error:
            raise Unavailable(
                f"{self.url}: the store cannot be reached ({type(error).__name__}). Is it running, and is SIGNET_STORE "
                "right?"
            ) from error


def _fault(response: urllib3.BaseHTTPResponse) -> str:
    try:
        code = ElementTree.fromstring(response.data).findtext("Code")  # noqa: S314  (our own store's answer)
    except ElementTree.ParseError:
        code = None
    return f"HTTP {response.status}{f', {code}' if code else ''}"
