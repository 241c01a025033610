"""Decides whether a call may be made: its token, the permission of the method, and the rate limit of the token."""

import logging
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from signet.errors import Busy, InvalidSetting, PermissionDenied, Unauthenticated
from signet.rpc.polling import StatusLog
from signet.security.bearer import Metadata, read_bearer_token
from signet.security.permissions import needed_permission
from signet.security.rate_limit import RateLimiter
from signet.security.setting_files import WatchedFiles
from signet.security.tokens import SETTING, TokenList, read_tokens

_log = logging.getLogger(__name__)


class AccessControl:
    """The tokens of a file; without a file, every call is allowed.

    A file that has changed is read again. If it cannot be used then, the tokens of before stay valid, and the log says
    why.

    Raises:
        InvalidSetting: the file is missing, or something in it cannot be used.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._limiter = RateLimiter(clock)
        self._status = StatusLog(_log)
        self._tokens = TokenList()
        self._watched = WatchedFiles([] if path is None else [path], clock)
        if path is not None:
            self._tokens = read_tokens(path)
            if path.stat().st_mode & stat.S_IWOTH:
                _log.warning(
                    "%s=%s: all users of this machine can add tokens. Run: chmod o-w '%s'", SETTING, path, path
                )
            _log.info("%s=%s: %d tokens", SETTING, path, len(self._tokens.tokens))

    def check(self, method: str, metadata: Metadata | None) -> None:
        """Check a call of a method ("signet.v1.Trainer/StartRun") with this metadata, before its request is read.

        Raises:
            Unauthenticated: the call has no token, or one that is unknown or has expired.
            PermissionDenied: the token does not permit the method.
            Busy: the token has made too many calls; with a time to retry.
        """
        needed = needed_permission(method)
        if self._path is None or needed is None:
            return
        self._reload(self._path)
        entry = self._tokens.find(read_bearer_token(metadata))
        if entry is None:
            raise Unauthenticated("the token of this call is not known. It may have been revoked.")
        if entry.expires is not None and datetime.now(UTC) >= entry.expires:
            raise Unauthenticated(f"the token {entry.name!r} expired at {entry.expires:%Y-%m-%d %H:%M} UTC.")
        if entry.allows < needed:
            raise PermissionDenied(
                f"{method}: needs a token with the permission {needed}. The token {entry.name!r} has {entry.allows}."
            )
        if entry.requests_per_second is not None:
            seconds = self._limiter.take(entry.name, entry.requests_per_second, entry.capacity)
            if seconds:
                raise Busy(
                    f"the token {entry.name!r} may make {entry.requests_per_second:g} calls a second. Try again in "
                    f"{seconds:.2g} s.",
                    seconds,
                )

    def _reload(self, path: Path) -> None:
        """Read the file again if it has changed."""
        if not self._watched.is_check_due() or not self._watched.have_changed():
            return
        try:
            self._tokens = read_tokens(path)
        except InvalidSetting as error:
            self._status.report(f"the changed file of tokens is not used: {error} The tokens of before stay valid.")
            return
        self._status.clear()
        self._limiter.forget_all_but({entry.name for entry in self._tokens.tokens})
        _log.info("%s=%s: read again; %d tokens", SETTING, path, len(self._tokens.tokens))
