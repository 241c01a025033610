"""The signature of a version: the object model.json.sig, which is stored before the card.

Only the functions of this module decide whether a card is trusted. Each card that is read from a store goes through
`check_signature`.
"""

from signet.errors import InvalidSetting, NotFound, UntrustedModel
from signet.registry.card import CARD
from signet.store import ObjectStore, keys

SIGNATURE = "model.json.sig"
# The signature of ed25519.
SIGNATURE_BYTES = 64

_ADVICE = (
    "SIGNET_MODEL_TRUSTED_KEYS asks for signed models. If you trust this version, sign it with `signet models sign`, "
    "or add the key of its publisher to the file."
)


def make_signature(store: ObjectStore, card: bytes) -> bytes | None:
    """The signature of a card by the key of this process; None without a key.

    Raises:
        InvalidSetting: this process would not trust the signature, or has no key and trusts only signed models.
    """
    signature = store.model_keys.sign(card) if store.model_keys else None
    if not _is_trusted(store, card, signature):
        raise InvalidSetting(
            "this process would refuse the model that it publishes, because SIGNET_MODEL_TRUSTED_KEYS is set. Set "
            "SIGNET_MODEL_SIGNING_KEY to a private key whose public key is in that file."
        )
    return signature


def check_can_sign(store: ObjectStore) -> None:
    """Check before a long training that its model can be published.

    Raises:
        InvalidSetting: see `make_signature`.
    """
    make_signature(store, b"")


def read_signature(store: ObjectStore, name: str, version: str) -> bytes | None:
    """The stored signature of a version; None if there is none."""
    try:
        return store.get_head(keys.model(name, version, SIGNATURE), SIGNATURE_BYTES + 1)
    except NotFound:
        return None


def check_signature(store: ObjectStore, name: str, version: str, card: bytes) -> None:
    """Check the stored signature of a card, if this process trusts only signed models.

    Raises:
        UntrustedModel: there is no signature, or it is of no trusted key, or the card was changed.
    """
    if store.model_keys is None or not store.model_keys.trusted:
        return
    source = f"{store.url}/{keys.model(name, version, CARD)}"
    check_given_signature(store, source, card, read_signature(store, name, version))


def check_given_signature(store: ObjectStore, source: str, card: bytes, signature: bytes | None) -> None:
    """Check a signature that comes from elsewhere. `source` names the card in the message.

    Raises:
        UntrustedModel: as `check_signature`.
    """
    if _is_trusted(store, card, signature):
        return
    reason = (
        "is not signed"
        if signature is None
        else "has a signature that no trusted key has made of it: it was signed with another key, or was changed"
    )
    raise UntrustedModel(f"{source}: {reason}. {_ADVICE}")


def _is_trusted(store: ObjectStore, card: bytes, signature: bytes | None) -> bool:
    if store.model_keys is None or not store.model_keys.trusted:
        return True
    return signature is not None and store.model_keys.accept(card, signature)
