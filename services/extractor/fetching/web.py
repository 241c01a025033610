"""HTTP requests to hosts that are not trusted: bounded redirects and times, and no way into the private network."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as WebTimeoutError

from services.extractor.fetching.addresses import is_local, is_local_host, is_public
from services.extractor.fetching.failures import DownloadFailed
from services.extractor.fetching.links import redact
from signet import __version__

USER_AGENT = f"Signet/{__version__} (signet fetch: downloads the clips of the sign-language data set WLASL)"

_CONNECT_SECONDS = 15.0
# A host may send one byte of its headers now and then. All of them must come within this time.
_HEADER_SECONDS = 60.0
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _AddressRefused(Exception):
    """A connection leads to an address that is not allowed."""


class _Guard:
    """A connection that may refuse addresses, and whose headers must come in time."""

    sock: Any
    allows: Callable[[str], bool]

    def _new_conn(self) -> Any:
        sock = super()._new_conn()  # type: ignore[misc]
        # The open connection is checked, because a name can lead to another address each time. Nothing was sent yet.
        if not self.allows(sock.getpeername()[0]):
            sock.close()
            raise _AddressRefused
        return sock

    def getresponse(self) -> Any:
        """Wait for the headers of the answer.

        Raises:
            TimeoutError: they did not come in time.
        """
        late = threading.Event()

        def end() -> None:
            late.set()
            _shut_down(self.sock)

        timer = threading.Timer(_HEADER_SECONDS, end)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
        if late.is_set():  # the end of the connection looks like the end of the headers
            response.close()
            raise TimeoutError
        return response


def _shut_down(sock: Any) -> None:
    """End a connection, so that the thread that reads from it fails."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except (OSError, ValueError, AttributeError):
        return  # it has ended already


def _pool_classes(rule: Callable[[str], bool]) -> dict[str, Any]:
    """The classes with which urllib3 connects to the addresses that a rule allows."""

    class GuardedHttp(_Guard, HTTPConnection):
        allows = staticmethod(rule)

    class GuardedHttps(_Guard, HTTPSConnection):
        allows = staticmethod(rule)

    class GuardedHttpPool(HTTPConnectionPool):
        ConnectionCls = GuardedHttp

    class GuardedHttpsPool(HTTPSConnectionPool):
        ConnectionCls = GuardedHttps

    return {"http": GuardedHttpPool, "https": GuardedHttpsPool}


@dataclass(frozen=True, eq=False)
class WebResponse:
    """The answer to a request, after its headers.

    Attributes:
        status: the status of HTTP.
        headers: the headers; their names may have any case.
        url: the address at the end of all redirects, without secrets.
    """

    status: int
    headers: Any
    url: str
    _raw: Any

    def read_some(self, most: int) -> bytes:
        """The next bytes of the body, at most so many; b"" at its end.

        Raises:
            DownloadFailed: the body ended too early, or nothing came for too long.
        """
        try:
            return bytes(self._raw.read1(most, decode_content=False))
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            raise _explain(error, self.url) from error

    def end(self) -> None:
        """End the connection. Another thread that reads from it fails."""
        try:
            self._raw.shutdown()
        except (OSError, ValueError, AttributeError):
            return  # it has ended already


class WebClient:
    """Sends requests. It may be used by several threads.

    Args:
        per_host: open connections that are kept for each host.
        read_seconds: without a byte for so long, a host is given up.
    """

    def __init__(self, per_host: int = 2, read_seconds: float = 30.0) -> None:
        options: dict[str, Any] = {
            "num_pools": 64,
            "maxsize": per_host,
            "retries": False,
            "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=read_seconds),
        }
        self._options = options
        self._proxies = getproxies()
        # The user has chosen the hosts of the metadata. Other people choose where redirects lead.
        self._public = self._manager(is_public)
        self._local = self._manager(lambda address: is_public(address) or is_local(address))
        self._by_proxy: dict[str, urllib3.ProxyManager] = {}

    def _manager(self, rule: Callable[[str], bool]) -> urllib3.PoolManager:
        manager = urllib3.PoolManager(**self._options)
        manager.pool_classes_by_scheme = _pool_classes(rule)
        return manager

    @contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[WebResponse]:
        """Send a request, and follow its redirects.

        Raises:
            DownloadFailed: there is no answer, or it leads in a circle or to an address that is not allowed.
        """
        target, first = url, urlsplit(url)
        for hop in range(_MOST_REDIRECTS + 1):
            raw = self._request(target, self._headers(target, first, headers), self._choose(target, url, hop))
            location = raw.headers.get("Location", "") if raw.status in _REDIRECTS else ""
            if not location:
                try:
                    yield WebResponse(raw.status, raw.headers, redact(target), raw)
                finally:
                    # A body that was read to its end leaves the connection open for the next request.
                    if raw.closed or raw.length_remaining == 0:
                        raw.release_conn()
                    else:
                        raw.close()
                return
            raw.close()
            target = _redirect(target, location)
        raise DownloadFailed("redirect", f"{redact(url)}: more than {_MOST_REDIRECTS} redirects.")

    def _choose(self, target: str, origin: str, hop: int) -> urllib3.PoolManager:
        """What connects to an address. It refuses local addresses after a redirect from the internet.

        Raises:
            DownloadFailed: the address is not allowed.
        """
        parts = urlsplit(target)
        host = parts.hostname or ""
        may_be_local = not hop or is_local_host(urlsplit(origin).hostname or "")
        if not may_be_local and is_local_host(host):
            raise _refused(target)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy and not proxy_bypass(host):  # the proxy looks the name up
            if proxy not in self._by_proxy:
                self._by_proxy[proxy] = _proxy_manager(proxy, self._options)
            return self._by_proxy[proxy]
        return self._local if may_be_local else self._public

    def _request(self, target: str, headers: dict[str, str], manager: urllib3.PoolManager) -> Any:
        try:
            return manager.urlopen(
                "GET", target, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
        except _AddressRefused as error:
            raise _refused(target) from error
        except (HTTPError, OSError, ValueError) as error:
            raise _explain(error, redact(target)) from error

    def _headers(self, target: str, first: Any, headers: dict[str, str]) -> dict[str, str]:
        """The headers of a request. Only the host of the metadata's address gets the user and password in it."""
        sent = {"User-Agent": USER_AGENT, "Accept": "video/*,*/*;q=0.5", "Accept-Encoding": "identity", **headers}
        parts = urlsplit(target)
        if first.username and (parts.scheme, parts.hostname, parts.port) == (first.scheme, first.hostname, first.port):
            login = f"{unquote(first.username)}:{unquote(first.password or '')}"
            sent |= urllib3.make_headers(basic_auth=login)
        return sent


def _proxy_manager(proxy: str, options: dict[str, Any]) -> urllib3.ProxyManager:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
    headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
    return urllib3.ProxyManager(parts.geturl(), proxy_headers=headers, **options)


def _redirect(target: str, location: str) -> str:
    """The address to which a redirect leads.

    Raises:
        DownloadFailed: it is not allowed.
    """
    try:
        following = urljoin(target, location)
        parts = urlsplit(following)
        allowed = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        allowed, following = False, "***"
    if not allowed:
        raise _refused(following)
    return following


def _refused(target: str) -> DownloadFailed:
    return DownloadFailed(
        "redirect",
        f"{redact(target)}: a redirect to this address is not followed. It must be an address of http or https on the "
        "internet.",
        final_url=redact(target),
    )


def _explain(error: Exception, url: str) -> DownloadFailed:
    """The failure for an error of urllib3. Its own message may have secrets in it."""
    if isinstance(error, NameResolutionError):
        reason, text = "unknown_host", "the name of the host leads to no address"
    elif isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason, text = "certificate", "the certificate of the host is not valid"
    elif isinstance(error, NewConnectionError | ConnectTimeoutError | ProxyError | SSLError):
        reason, text = "no_connection", "no connection to the host"
    elif isinstance(error, WebTimeoutError | TimeoutError):
        reason, text = "stalled", "the host sent nothing for too long"
    elif isinstance(error, LocationValueError | UnicodeError):
        reason, text = "no_url", "no usable address"
    else:
        reason, text = "interrupted", "the connection ended before the answer was complete"
    return DownloadFailed(reason, f"{url}: {text}.", final_url=url)


def retry_after(headers: Any) -> float | None:
    """The seconds that a host asks to wait, from its header Retry-After; None if it asks for none."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isdecimal():  # `isdigit` is also true for "²", which is no number
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
