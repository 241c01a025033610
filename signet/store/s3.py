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

# A store nearby answers in milliseconds; a lost one must be noticed before the deadlines of callers.
_CONNECT_SECONDS = 3.0
_READ_SECONDS = 30.0
_RETRIES = urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504), allowed_methods=None)

# With a fixed region, the client does not have to ask for it.
_REGION = "us-east-1"

_GONE = {"NoSuchKey", "NoSuchObject", "NoSuchBucket"}


class S3Store:
    """Objects in a bucket, which is made if it is missing.

    `endpoint` is host:port; with `secure`, it is called through TLS. `cache` is the directory for copies of large,
    immutable objects on this machine; without it, there are no copies.
    """

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        *,
        secure: bool,
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
            region=_REGION,
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
            raise AlreadyExists(f"{self.url}/{key}: exists already and is immutable.")

    def replace(self, key: str, data: bytes, etag: str) -> None:
        if not self._put_if(key, data, {"If-Match": f'"{etag}"'}):
            raise Conflict(f"{self.url}/{key}: was changed by another writer. Read it again, then retry.")

    def stat(self, key: str) -> ObjectInfo | None:
        try:
            with self._reached(key):
                status = self._client.stat_object(self._bucket, key)
        except NotFound:
            return None
        return ObjectInfo(key, status.size or 0, status.etag or "")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._reached(prefix):
            for entry in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
                if entry.object_name and not entry.is_dir:
                    yield ObjectInfo(entry.object_name, entry.size or 0, (entry.etag or "").strip('"'))

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
        """Write under a condition; False if it does not hold.

        `Minio.put_object` (7.2.20) turns unknown headers into user metadata, so the condition would be lost silently.
        With a presigned URL, the header arrives.
        """
        with self._reached(key):
            url = self._client.get_presigned_url("PUT", self._bucket, key, expires=timedelta(minutes=5))
            # No retries: after a lost answer, a retry would find our own object and take it for another writer's.
            response = self._http.request("PUT", url, body=data, headers=condition, retries=False)
        # 409: two conditional writes at the same time, and this one lost.
        if response.status in {409, 412} or (response.status == 404 and "If-Match" in condition):
            return False
        if response.status != 200:
            raise Unavailable(f"{self.url}/{key}: the store refused a write ({_fault(response)}).")
        return True

    @contextmanager
    def _reached(self, key: str) -> Iterator[None]:
        """Turn each failure of the client into an error of Signet."""
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
        code = ElementTree.fromstring(response.data).findtext("Code")  # noqa: S314  (the answer of our own store)
    except ElementTree.ParseError:
        code = None
    return f"HTTP {response.status}{f', {code}' if code else ''}"
