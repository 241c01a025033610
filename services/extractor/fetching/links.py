"""The addresses of clips: which instances share one, how it is downloaded, and how it is shown without secrets."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlsplit, urlunsplit

from services.extractor.sources.clip_files import youtube_id
from services.extractor.sources.instances import Instance

YOUTUBE_HOST = "www.youtube.com"
# Names of query parameters whose values can give access to something.
_SECRET_NAMES = re.compile(r"sig|token|key|auth|secret|pass|credential|policy|session", re.IGNORECASE)


class LinkKind(StrEnum):
    """How a link is downloaded."""

    HTTP = "http"
    YOUTUBE = "youtube"
    FLASH = "flash"
    NONE = "none"  # the metadata has no address that can be downloaded


@dataclass(frozen=True)
class ClipLink:
    """An address, and the instances whose video it is.

    Attributes:
        key: identifies the address in the ledger, and names its unfinished file.
        host: the host whose limits apply; "" if the address has none.
        youtube: the id of the video at YouTube; "" for other links.
    """

    key: str
    url: str
    kind: LinkKind
    host: str
    instances: tuple[Instance, ...]
    youtube: str = ""

    def stems(self, instances: Iterable[Instance]) -> tuple[str, ...]:
        """The names, without suffix, of the files for these instances.

        `find_clip_files` gives a file that has the id of a video at YouTube to all instances of that video. The
        instances of any other address each have a file of their own.
        """
        return (self.youtube,) if self.youtube else tuple(instance.clip_id for instance in instances)


def group_links(instances: Sequence[Instance]) -> list[ClipLink]:
    """The links of instances, in the order of their first instance."""
    groups: dict[str, list[Instance]] = {}
    for instance in instances:
        groups.setdefault(_canonical(instance.url), []).append(instance)
    links = []
    for url, members in groups.items():
        if url:
            links.append(_link(url, tuple(members)))
        else:  # without an address, the instances have nothing in common
            links += [ClipLink(f"none-{one.clip_id}", "", LinkKind.NONE, "", (one,)) for one in members]
    return links


def _canonical(url: str) -> str:
    """The address that instances of the same video share."""
    if name := youtube_id(url):
        return f"https://{YOUTUBE_HOST}/watch?v={name}"
    return url.strip().partition("#")[0]


def _link(url: str, instances: tuple[Instance, ...]) -> ClipLink:
    key = hashlib.sha256(url.encode()).hexdigest()[:24]
    if name := youtube_id(url):
        return ClipLink(key, url, LinkKind.YOUTUBE, YOUTUBE_HOST, instances, name)
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        has_host = bool(host) and parts.port != 0  # `port` raises ValueError if it is larger than 65535
        kind = LinkKind.HTTP if parts.scheme in {"http", "https"} and has_host else LinkKind.NONE
    except ValueError:
        return ClipLink(key, url, LinkKind.NONE, "", instances)
    if kind is LinkKind.HTTP and PurePosixPath(unquote(parts.path)).suffix.lower() == ".swf":
        kind = LinkKind.FLASH
    return ClipLink(key, url, kind, host, instances)


def redact(url: str) -> str:
    """An address without user, password and fragment, and with *** for each value in its query that may be a secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "***"
    if any(_SECRET_NAMES.search(name) for name, _ in pairs):
        query = "&".join(
            f"{quote(name)}={'***' if _SECRET_NAMES.search(name) else quote(value)}" for name, value in pairs
        )
    else:
        query = parts.query
    return urlunsplit((parts.scheme, host, parts.path, query, ""))
