"""The metadata of a call that carry a token (RFC 6750)."""

from collections.abc import Iterable

from signet.errors import Unauthenticated

AUTHORIZATION = "authorization"
_SCHEME = "Bearer"

Metadata = Iterable[tuple[str, str | bytes]]


def bearer_metadata(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that send a token; none for ""."""
    return ((AUTHORIZATION, f"{_SCHEME} {token}"),) if token else ()


def read_bearer_token(metadata: Metadata | None) -> str:
    """The token of a call.

    Raises:
        Unauthenticated: the metadata have none, or several.
    """
    values = [value for key, value in metadata or () if key.lower() == AUTHORIZATION]
    if not values:
        raise Unauthenticated("this server asks for a token. Send it as metadata: `authorization: Bearer TOKEN`.")
    scheme, _, token = str(values[0]).partition(" ")
    if len(values) > 1 or scheme.lower() != _SCHEME.lower() or not token.strip():
        raise Unauthenticated(
            "the metadata `authorization` of this call cannot be used. It must be `Bearer` and one token."
        )
    return token.strip()
