"""HTTP to an S3 endpoint. An answer that is not the success of an S3 server becomes a `RefusedRequest`."""

import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import urllib3
from urllib3.response import BaseHTTPResponse

# It warns of each retry. While a store is down, that would fill the log: the store's own error says once what is wrong.
# At DEBUG it logs URLs, and a presigned URL is a key to one object.
logging.getLogger("urllib3").setLevel(logging.ERROR)

# Enough for each error of S3 and for the title of a web page.
_MAX_BODY_BYTES = 1 << 16

_LISTING = re.compile(rb"<(\w+:)?ListBucketResult[\s>/]")
_PAGE = re.compile(rb"\s*((<\?xml.*?\?>|<!--.*?-->)\s*)*(<!doctype html|<html)", re.IGNORECASE | re.DOTALL)
_PAGE_TYPES = ("text/html", "application/xhtml+xml")

# What to do if something else than an S3 server answers.
CHECK_ADDRESS = "Write the address of the store's S3 API into SIGNET_STORE."


@dataclass(frozen=True)
class S3Address:
    """How a store was opened, for the sentences about it."""

    url: str
    endpoint: str  # host:port
    bucket: str
    access_key: str
    secure: bool
    region: str
    has_token: bool = False
    virtual: bool = False  # whether the bucket is part of the host's name
    key_variables: str = "SIGNET_S3_ACCESS_KEY and SIGNET_S3_SECRET_KEY"

    @property
    def host(self) -> str:
        """The name of the host that requests go to."""
        host = urlsplit(f"//{self.endpoint}").hostname or self.endpoint
        return f"{self.bucket}.{host}" if self.virtual else host


class RefusedRequest(Exception):
    """An answer other than the success of an S3 request.

    Attributes:
        right: the right that the request needs, as AWS names it.
        status: the HTTP status. It is 2xx if the answer does not come from an S3 server.
        headers: of the answer.
        body: its first bytes.
        error: the elements of S3's XML error by name; {} if there is none.
        parsed: False if the body claims to be XML and is not.
    """

    def __init__(self, right: str, response: BaseHTTPResponse, preloaded: bool) -> None:
        self.right = right
        self.status = response.status
        self.headers = response.headers
        self.body = (response.data if preloaded else response.read(_MAX_BODY_BYTES))[:_MAX_BODY_BYTES]
        response.close()
        self.parsed = True
        self.error: dict[str, str] = {}
        if "xml" in self.content_type or self.body.lstrip().startswith((b"<?xml", b"<Error")):
            self._parse()
        super().__init__(f"HTTP {self.status}")

    @property
    def code(self) -> str:
        """S3's name of the error; "" if there is none."""
        return self.error.get("Code", "")

    @property
    def content_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return str(self.headers.get("content-type", "")).partition(";")[0].strip().lower()

    @property
    def is_web_page(self) -> bool:
        """Whether a web server answered, and not an S3 server."""
        return not self.code and (_PAGE.match(self.body) is not None or _is_page_of_web_server(self.headers))

    @property
    def is_missing_object(self) -> bool:
        """Whether an S3 server says that there is no such object. An answer to HEAD has no body, so no code."""
        if self.code:
            return self.code in {"NoSuchKey", "NoSuchObject"}
        return self.status == 404 and not self.body and not self.is_web_page

    def _parse(self) -> None:
        try:
            root = ElementTree.fromstring(self.body)  # noqa: S314  (expat limits the expansion of entities)
        except (ElementTree.ParseError, LookupError, ValueError):  # ValueError, LookupError: an unknown encoding
            self.parsed = not self.body
            return
        if _local_name(root) == "Error":
            self.error = {_local_name(child): (child.text or "").strip() for child in root}


class S3PoolManager(urllib3.PoolManager):
    """A pool of connections to one bucket, which follows no redirect: a signature holds for one host only."""

    def __init__(self, bucket: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._bucket = bucket

    def urlopen(self, method: str, url: str, redirect: bool = True, **settings: Any) -> BaseHTTPResponse:  # type: ignore[override]
        """Send a request.

        Raises:
            RefusedRequest: the answer is no success, or it is not an answer of an S3 server.
            urllib3.exceptions.HTTPError: there was no answer.
        """
        del redirect
        response = super().urlopen(method, url, redirect=False, **settings)
        parts = urlsplit(url)
        key = parts.path.strip("/").removeprefix(self._bucket).strip("/")
        listing = method == "GET" and "list-type=2" in parts.query
        if not 200 <= response.status < 300:
            succeeded = False
        elif listing:
            succeeded = _LISTING.search(response.data[:4096]) is not None
        elif key and method != "DELETE":
            # Each S3 server sends the ETag of the object that it sends or has stored. A store may name the type of a
            # stored page by its key.
            page = _is_page_of_web_server(response.headers) and not key.endswith(".html")
            succeeded = "etag" in response.headers and not page
        else:
            succeeded = True
        if not succeeded:
            raise RefusedRequest(_right(method, bool(key), listing), response, settings.get("preload_content", True))
        return response


def _is_page_of_web_server(headers: urllib3.HTTPHeaderDict) -> bool:
    """Whether an answer is a web page and has no header of S3."""
    content_type = str(headers.get("content-type", "")).lower()
    return content_type.startswith(_PAGE_TYPES) and not any(name.lower().startswith("x-amz-") for name in headers)


def _right(method: str, of_object: bool, listing: bool) -> str:
    if listing:
        return "s3:ListBucket"
    if not of_object:
        return "s3:CreateBucket"
    return {"PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}.get(method, "s3:GetObject")


def _local_name(element: ElementTree.Element) -> str:
    """The name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def one_line(text: str, length: int = 200) -> str:
    """The text as one line of printable characters, shortened."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split()).rstrip(".")
    return line if len(line) <= length else f"{line[:length]} …"
