"""The file of bearer tokens: names, hashes, permissions and rate limits.

    {"tokens": [{"name": "phone", "sha256": "9f86...", "permission": "read", "created": "2026-11-28T10:00:00+00:00",
                 "expires": null, "requests_per_second": 20, "burst": 40}]}

A token has 256 random bits, so it cannot be found by trying, and a plain sha256 protects it as well as bcrypt or
argon2. These are slow on purpose, because they protect passwords that people choose. Each call would pay for it.
"""

import fcntl
import hashlib
import hmac
import math
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from signet.errors import AlreadyExists, InvalidInput, InvalidSetting, NotFound, Unavailable, quote
from signet.field_types import describe_first_fault
from signet.security.permissions import Permission
from signet.security.setting_files import read_setting_file
from signet.whole_file import OWNER_ONLY, sync, unfinished_file

SETTING = "SIGNET_TOKENS_FILE"

# Searches for leaked secrets find tokens by this prefix, and the log hides what follows it.
TOKEN_PREFIX = "signet_"  # noqa: S105  (no token)
_TOKEN_BYTES = 32
_MAX_RATE = 1e6

TokenName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TokenEntry(BaseModel):
    """One token in the file, without the token itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: TokenName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    permission: Literal["read", "write", "admin"]
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None  # None: never
    requests_per_second: float | None = Field(None, gt=0, le=_MAX_RATE, allow_inf_nan=False)  # None: no limit
    # So many calls may come at once after a pause; None: as many as in one second.
    burst: int | None = Field(None, ge=1, le=int(_MAX_RATE))

    @property
    def allows(self) -> Permission:
        """The permission."""
        return Permission.parse(self.permission)

    @property
    def capacity(self) -> float:
        """The calls that may come at once."""
        return float(self.burst or max(1, math.ceil(self.requests_per_second or 1)))


class TokenList(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[TokenEntry, ...] = Field((), max_length=10_000)

    @model_validator(mode="after")
    def _are_different(self) -> "TokenList":
        for kind, values in (("name", [t.name for t in self.tokens]), ("sha256", [t.sha256 for t in self.tokens])):
            if len(set(values)) < len(values):
                raise ValueError(f"two tokens have the same {kind}")
        return self

    def find(self, token: str) -> TokenEntry | None:
        """The entry of a token; None if there is none.

        Each hash is compared, in constant time, so that the time of the answer says nothing about the file.
        """
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        found = None
        for stored, entry in self.digests:
            if hmac.compare_digest(stored, digest):
                found = entry
        return found

    @cached_property
    def digests(self) -> list[tuple[bytes, TokenEntry]]:
        """The hashes as bytes: each call of a service compares them."""
        return [(bytes.fromhex(entry.sha256), entry) for entry in self.tokens]


@dataclass(frozen=True)
class TokenLimits:
    """What a new token may do, and for how long."""

    permission: Permission
    requests_per_second: float | None = None
    burst: int | None = None
    days: float | None = None


def hash_token(token: str) -> str:
    """The hash by which the file knows a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> TokenList:
    """Read the file of tokens.

    Raises:
        InvalidSetting: it is missing or unreadable, or something in it cannot be used. No part of it is then used.
    """
    data = read_setting_file(SETTING, path, "a file that `signet token create` made")
    try:
        return TokenList.model_validate_json(data)
    except ValidationError as error:
        raise InvalidSetting(
            f"{SETTING}={path}: cannot be used ({describe_first_fault(error).lstrip(': ')}). `signet token create` "
            "writes this file."
        ) from None


def create_token(path: Path, name: str, limits: TokenLimits) -> str:
    """Make a token, add its hash to the file, and return the token, which is stored nowhere.

    Raises:
        InvalidInput: the name or a limit cannot be used.
        AlreadyExists: the file has a token of this name.
        InvalidSetting: the file cannot be used.
        Unavailable: the file cannot be written.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        entry = TokenEntry(
            name=name,
            sha256=hash_token(token),
            permission=str(limits.permission),
            created=now,
            expires=None if limits.days is None else now + timedelta(days=limits.days),
            requests_per_second=limits.requests_per_second,
            burst=limits.burst,
        )
    except (ValidationError, OverflowError) as error:
        reason = describe_first_fault(error) if isinstance(error, ValidationError) else "the time is too long"
        raise InvalidInput(f"token {quote(name)}: {reason}. A name has letters, digits, `.`, `_` and `-`.") from None
    with _changing(path) as stored:
        if any(other.name == name for other in stored.tokens):
            raise AlreadyExists(
                f"{path}: has a token {name!r} already. Choose another name. For a change without a pause, create "
                "the new token, give it to its user, and then revoke the old one."
            )
        _write(path, TokenList(tokens=(*stored.tokens, entry)))
    return token


def revoke_token(path: Path, name: str) -> None:
    """Remove a token from the file. Servers refuse it within about a second.

    Raises:
        NotFound: the file has no such token.
        InvalidSetting: the file cannot be used.
        Unavailable: the file cannot be written.
    """
    with _changing(path) as stored:
        left = tuple(entry for entry in stored.tokens if entry.name != name)
        if len(left) == len(stored.tokens):
            names = ", ".join(entry.name for entry in stored.tokens) or "none"
            raise NotFound(f"{path}: has no token {quote(name)}. Its tokens: {names}.")
        _write(path, TokenList(tokens=left))


@contextmanager
def _changing(path: Path) -> Iterator[TokenList]:
    """The content of the file, while no other process changes it. A missing file has no tokens."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written ({error.strerror}). Make its folder, or name another.") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield read_tokens(path) if path.exists() else TokenList()
    finally:
        os.close(folder)


def _write(path: Path, tokens: TokenList) -> None:
    """Replace the file in one step. A new file can be read by its owner only; an old one keeps its readers."""
    target = path.resolve()
    data = tokens.model_dump_json(indent=1, exclude_none=True).encode() + b"\n"
    try:
        old = target.stat() if target.exists() else None
        with unfinished_file(target, OWNER_ONLY) as (file, temporary):
            file.write(data)
            if old is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode) & 0o644)
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            sync(file)
            temporary.replace(target)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written ({error.strerror}).") from error
