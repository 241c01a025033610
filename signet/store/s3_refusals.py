"""Sentences about the answers of a server that are no success: what is wrong, and what to do.

A sentence is the same each time as long as the fault is the same, so that a log can leave out repetitions.
"""

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from signet.store.s3_http import CHECK_ADDRESS, RefusedRequest, S3Address, one_line

# S3 refuses a request whose time differs by more than 15 minutes.
_SKEW_MINUTES = 14

_REDIRECTS = {301, 302, 303, 307, 308}
_PLAIN_TO_TLS = re.compile(rb"HTTPS? (server|port)|SSL-enabled server", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.{1,200}?)</title", re.IGNORECASE | re.DOTALL)
_EXPECTED_REGION = re.compile(r"expecting '([\w-]+)'")


def explain_refusal(address: S3Address, refused: RefusedRequest) -> str:
    """The sentence for an answer that is no success."""
    for explain in (_plain_to_tls, _other_region, _redirect, _wrong_clock):
        sentence = explain(address, refused)
        if sentence:
            return f"{address.url}: {sentence}"
    known = _CODES.get(refused.code)
    if known is not None:
        return f"{address.url}: {known(address, refused)}"
    if refused.status in _STATUSES and not refused.code:
        return f"{address.url}: {_STATUSES[refused.status](address, refused)}"
    if refused.code:
        return f"{address.url}: the store refused a request ({_detail(refused)})."
    return f"{address.url}: {_no_s3(refused)}"


def _plain_to_tls(address: S3Address, refused: RefusedRequest) -> str:
    if address.secure or refused.status != 400 or not _PLAIN_TO_TLS.search(refused.body):
        return ""
    return f"{address.endpoint} speaks https only. Write https:// instead of http:// into SIGNET_STORE."


def _other_region(address: S3Address, refused: RefusedRequest) -> str:
    if refused.status not in {301, 307, 400} or refused.code not in _REGION_CODES:
        return ""
    found = _EXPECTED_REGION.search(refused.error.get("Message", ""))
    expected = found[1] if found else refused.error.get("Region", "") or refused.headers.get("x-amz-bucket-region", "")
    if expected == address.region:
        return ""
    if expected:
        return (
            f"the bucket is in region {expected}, and Signet uses region {address.region}. Set "
            f"SIGNET_S3_REGION={expected}, and check that the host in SIGNET_STORE belongs to that region."
        )
    if refused.code in {"", "PermanentRedirect", "TemporaryRedirect"}:
        return ""
    return (
        f"the store does not accept region {address.region} ({_detail(refused)}). Set SIGNET_S3_REGION to the store's "
        "own region."
    )


def _redirect(address: S3Address, refused: RefusedRequest) -> str:
    if refused.status not in _REDIRECTS:
        return ""
    endpoint = refused.error.get("Endpoint", "").removeprefix(f"{address.bucket}.")
    if endpoint:
        scheme = "https" if address.secure else "http"
        return f"the bucket is at another address. Write SIGNET_STORE={scheme}://{endpoint}/{address.bucket}."
    target = urlsplit(str(refused.headers.get("location", "")))
    if not address.secure and target.scheme == "https" and target.hostname in {address.host, None}:
        return f"the server redirects to https. Write SIGNET_STORE={target.scheme}://{target.netloc}/{address.bucket}."
    # Without the query: it may hold a signature.
    place = one_line(f"{target.scheme}://{target.netloc}{target.path}" if target.netloc else target.path)
    return (
        f"the server redirects{f' to {place}' if place else ''} (HTTP {refused.status}), which S3 does not. This is a "
        f"login page or another service. {CHECK_ADDRESS}"
    )


def _wrong_clock(_: S3Address, refused: RefusedRequest) -> str:
    """A request carries its time. A store refuses it if the time is wrong, with one of several codes."""
    minutes = _minutes_behind(refused)
    late = "expired" in (message := refused.error.get("Message", "").lower()) or "not yet valid" in message
    if not (
        refused.code in {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
        or (refused.status == 403 and abs(minutes) >= _SKEW_MINUTES)
        or (refused.code == "AccessDenied" and late)
    ):
        return ""
    difference = ""
    if minutes:
        size = f"{abs(minutes)} minutes" if abs(minutes) < 120 else f"{abs(minutes) // 60} hours"
        difference = f", this machine's clock is about {size} {'behind' if minutes > 0 else 'ahead'}"
    return (
        "the store refuses the time of the request: the clocks of this machine and of the store differ too much"
        f"{difference}. Set the clock (for example: timedatectl set-ntp true). S3 allows a difference of 15 minutes."
    )


def _minutes_behind(refused: RefusedRequest) -> int:
    """By how many minutes this machine's clock is behind the server's; 0 if the server does not tell."""
    try:
        server = parsedate_to_datetime(refused.headers.get("date", ""))
    except (TypeError, ValueError):
        return 0
    if server.tzinfo is None:
        server = server.replace(tzinfo=UTC)
    return round((server - datetime.now(UTC)).total_seconds() / 60)


def _unknown_user(address: S3Address, refused: RefusedRequest) -> str:
    temporary = address.access_key.startswith("ASIA") and not address.has_token
    return (
        f"the store does not know the user {address.access_key!r} ({_detail(refused)}). Check {address.key_variables}."
        f"{' This is a temporary key: set SIGNET_S3_SESSION_TOKEN too.' if temporary else ''}"
    )


def _wrong_secret(address: S3Address, refused: RefusedRequest) -> str:
    return (
        f"the secret is not that of the user {address.access_key!r} ({_detail(refused)}). Check "
        f"{address.key_variables}. If both are right, a proxy changes the requests on their way."
    )


def _wrong_token(address: S3Address, refused: RefusedRequest) -> str:
    advice = (
        "Set SIGNET_S3_SESSION_TOKEN to the token that belongs to the keys. Keys that are not temporary have none"
        if address.has_token
        else "Temporary keys need SIGNET_S3_SESSION_TOKEN"
    )
    return f"the store does not accept the session token ({_detail(refused)}). {advice}."


def _expired_token(address: S3Address, refused: RefusedRequest) -> str:
    return (
        f"the session token has expired ({_detail(refused)}). Get new temporary keys, set {address.key_variables} and "
        "SIGNET_S3_SESSION_TOKEN, and start Signet again."
    )


def _no_right(address: S3Address, refused: RefusedRequest) -> str:
    return (
        f"the user {address.access_key!r} must not do this: the right {refused.right} on bucket {address.bucket!r} is "
        f"missing, or the bucket belongs to somebody else ({_detail(refused)}). Give the user this right, or check "
        f"{address.key_variables}."
    )


def _other_addressing(address: S3Address, refused: RefusedRequest) -> str:
    other = "path" if address.virtual else "virtual"
    return f"the store wants another form of addresses ({_detail(refused)}). Set SIGNET_S3_ADDRESSING={other}."


def explain_missing_bucket(address: S3Address) -> str:
    """The sentence of a command that needs a store with content."""
    return (
        f"{address.url}: there is no store here: {address.endpoint} has no bucket {address.bucket!r}. Check "
        "--store and SIGNET_STORE. `signet extract` and `signet import` make a store."
    )


def _no_bucket(address: S3Address, refused: RefusedRequest) -> str:
    return (
        f"there is no bucket {address.bucket!r} at {address.endpoint} ({_detail(refused)}). Make it "
        "(`python -m signet.store`), or correct SIGNET_STORE."
    )


def _too_busy(_: S3Address, refused: RefusedRequest) -> str:
    return f"the store is too busy or still starting ({_detail(refused)}). Try again in a moment."


def _full(_: S3Address, refused: RefusedRequest) -> str:
    return f"the store is full ({_detail(refused)}). Free some space, or raise its quota."


def _too_large(_: S3Address, refused: RefusedRequest) -> str:
    return (
        f"the object is too large ({_detail(refused)}). If a proxy is in front of the store, raise its limit (nginx: "
        "client_max_body_size)."
    )


def _unsupported(_: S3Address, refused: RefusedRequest) -> str:
    return (
        f"the server does not support a request that Signet needs ({_detail(refused)}). Signet needs an S3 server with "
        f"conditional writes. {CHECK_ADDRESS}"
    )


def _proxy_login(_: S3Address, refused: RefusedRequest) -> str:
    return (
        f"a proxy between this machine and the store asks for a login ({_detail(refused)}). Signet does not use "
        "proxies: let it reach the store directly."
    )


def _gateway(_: S3Address, refused: RefusedRequest) -> str:
    return (
        f"a proxy or load balancer answers, and the store behind it does not ({_detail(refused)}). Start the store, or "
        "try again in a moment."
    )


def _blocked(address: S3Address, refused: RefusedRequest) -> str:
    if not refused.body and refused.right == "s3:GetObject":  # an answer to HEAD has no body
        return f"the store refuses a request ({_detail(refused)}). Check the rights of the user {address.access_key!r}."
    return (
        f"a proxy, a firewall or another web server refuses the request ({_detail(refused)}). Let this machine reach "
        f"the store directly. {CHECK_ADDRESS}"
    )


def _nothing_here(_: S3Address, refused: RefusedRequest) -> str:
    return f"there is no S3 API at this address ({_detail(refused)}). {CHECK_ADDRESS}"


def _no_s3(refused: RefusedRequest) -> str:
    if refused.is_web_page:
        return (
            f"a web page answers ({_detail(refused)}), and no S3 store. The store's console and its S3 API have "
            f"different addresses. {CHECK_ADDRESS}"
        )
    if not refused.parsed:
        return f"the answer of the store is no valid XML ({_detail(refused)}). {CHECK_ADDRESS}"
    return f"the answer is not that of an S3 store ({_detail(refused)}). {CHECK_ADDRESS}"


def _detail(refused: RefusedRequest) -> str:
    """The status, with the store's own words or the title of the page."""
    text = f"HTTP {refused.status}"
    if refused.code:
        message = one_line(refused.error.get("Message", ""))
        return f"{text}, {one_line(refused.code)}{f': {message}' if message else ''}"
    if refused.is_web_page:
        title = _TITLE.search(refused.body)
        words = one_line(html.unescape(title[1].decode(errors="replace"))) if title else ""
        return f"{text}, {f'title {words!r}' if words else 'HTML'}"
    return f"{text}{f', {refused.content_type}' if refused.content_type else ''}"


_REGION_CODES = {
    "",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "IllegalLocationConstraintException",
    "InvalidLocationConstraint",
    "InvalidRegion",
    "PermanentRedirect",
    "TemporaryRedirect",
}

_Explain = Callable[[S3Address, RefusedRequest], str]

_CODES: dict[str, _Explain] = {
    "InvalidAccessKeyId": _unknown_user,
    "InvalidAccessKey": _unknown_user,
    "SignatureDoesNotMatch": _wrong_secret,
    "ExpiredToken": _expired_token,
    "ExpiredTokenException": _expired_token,
    "TokenRefreshRequired": _expired_token,
    "InvalidToken": _wrong_token,
    "InvalidTokenId": _wrong_token,
    "InvalidClientTokenId": _wrong_token,
    "MissingSecurityHeader": _wrong_token,
    "SecondLevelDomainForbidden": _other_addressing,
    "VirtualHostDomainRequired": _other_addressing,
    "AccessDenied": _no_right,
    "AllAccessDisabled": _no_right,
    "Forbidden": _no_right,
    "NoSuchBucket": _no_bucket,
    "ServiceUnavailable": _too_busy,
    "InternalError": _too_busy,
    "RequestTimeout": _too_busy,
    "SlowDown": _too_busy,
    "XMinioServerNotInitialized": _too_busy,
    "QuotaExceeded": _full,
    "XMinioAdminBucketQuotaExceeded": _full,
    "XMinioStorageFull": _full,
    "EntityTooLarge": _too_large,
    "MethodNotAllowed": _unsupported,
    "NotImplemented": _unsupported,
}

# Answers without S3's own XML. They come from a server in front of the store, or from another kind of server.
_STATUSES: dict[int, _Explain] = {
    401: _blocked,
    403: _blocked,
    404: _nothing_here,
    405: _unsupported,
    407: _proxy_login,
    413: _too_large,
    451: _blocked,
    501: _unsupported,
    502: _gateway,
    503: _gateway,
    504: _gateway,
    507: _full,
}
