"""Lists the objects of a bucket. The minio client takes 0.1 ms for each: it reads fields that Signet does not need."""

from collections.abc import Iterator
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from minio import Minio

from signet.store.base import ObjectInfo


class ListingClient(Minio):
    """A client that lists thousands of objects in little time."""

    def list_infos(self, bucket: str, prefix: str) -> Iterator[ObjectInfo]:
        """The key, size and etag of each object whose key starts with the prefix.

        Raises:
            ValueError: the answer is not a listing.
            ElementTree.ParseError: it is not XML.
        """
        token = ""
        while True:
            query = {"list-type": "2", "delimiter": "", "encoding-type": "url", "max-keys": "1000", "prefix": prefix}
            if token:
                query["continuation-token"] = token
            answer = self._execute("GET", bucket, query_params=dict(query))
            infos, token = _parse(answer.data)
            yield from infos
            if not token:
                return


def _parse(data: bytes) -> tuple[list[ObjectInfo], str]:
    """The objects of a page, and the token of the next page; "" if there is none."""
    root = ElementTree.fromstring(data)  # noqa: S314  (expat limits the expansion of entities)
    fields = {_local_name(child): child.text or "" for child in root}
    url = fields.get("EncodingType") == "url"
    infos = []
    for child in root:
        if _local_name(child) != "Contents":
            continue
        entry = {_local_name(field): field.text or "" for field in child}
        if "Key" not in entry:
            raise ValueError("a listed object has no key")
        key = unquote_plus(entry["Key"]) if url else entry["Key"]
        if key and not key.endswith("/"):
            infos.append(ObjectInfo(key, int(entry.get("Size") or 0), entry.get("ETag", "").strip('"')))
    more = fields.get("IsTruncated", "").lower() == "true"
    token = fields.get("NextContinuationToken", "") if more else ""
    if more and not token:
        raise ValueError("a page of a listing does not name the next page")
    return infos, token


def _local_name(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]
