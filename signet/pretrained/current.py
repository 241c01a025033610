"""Which version of the bundled model is used with a store, which may have versions with enrolled signs."""

from signet.errors import NotFound
from signet.pretrained.bundled import ASL100, read_bundled_card
from signet.registry import LATEST, read_card, resolve
from signet.store import ObjectStore


def find_current_version(store: ObjectStore) -> str:
    """The version of the bundled model that is used with a store.

    It is the newest version that the store has, if signs were enrolled in it. If the store has none, or if all enrolled
    signs were forgotten, it is the version in the package, which may be newer than the one that the signs were enrolled
    on.

    Raises:
        NotFound: the store has none, and this installation has none either.
        DataLoss: the newest version in the store is damaged, or the one in the package.
    """
    try:
        version = resolve(store, ASL100, LATEST)
        card = read_card(store, ASL100, version)
    except NotFound:
        return read_bundled_card().version
    if card.enrolment is None or card.enrolled_vocabulary:
        return version
    return read_bundled_card().version
