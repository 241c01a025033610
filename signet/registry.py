"""Published models: immutable versions, and aliases that move between versions and record their history."""

import hashlib
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.decoding import DEFAULT_BEAM_WIDTH, ContinuousDecoder
from signet.errors import AlreadyExists, Conflict, DataLoss, NotFound, quote
from signet.field_types import Count, Finite, Gloss, IsoTime, Label, Share, describe_first_fault
from signet.landmarks import describe_sampling_difference
from signet.statistics.vocabulary_score import VocabularyScore
from signet.store import ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

SCHEMA = "signet.model/1"
CARD = "model.json"
LATEST = "latest"

# The largest file of a model: the graph of the largest settings of a training is smaller.
MAX_FILE_BYTES = 256 << 20

# Limits of a card. `signet train` accepts penalties up to 20; a wider beam than the default finds nothing more.
MAX_PENALTY = 1000.0
MAX_BEAM_WIDTH = 256

# So many lost races in a row are a fault of the store: there are never so many writers.
_ALIAS_ATTEMPTS = 10


class Metrics(BaseModel):
    """The results of a model on its val split when it was published, counted by the trainer."""

    model_config = ConfigDict(frozen=True)

    val_clips: Count
    val_correct: Count
    val_greedy_correct: Count
    blank_ratio: Share
    epoch: Count


class ModelCard(BaseModel):
    """model.json: all that a server or a reader must know about a version."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    name: Label
    version: Label
    created: IsoTime
    run_id: Label
    dataset_name: Label
    dataset_version: Label
    vocabulary: tuple[Gloss, ...] = Field(max_length=20_000)  # class c is vocabulary[c - 1]; class 0 is the blank
    frame_rate: float = Field(gt=0, le=1000)
    # `signet.landmarks.SMOOTHING_SECONDS` of its clips. Older cards lack it: their clips were not smoothed.
    smoothing_seconds: float = Field(0.0, ge=0, le=60)
    # How the model is decoded; on the card, so that all readers decode alike. The blank penalty applies to isolated
    # signs too. Cards that are older than the beam search get its defaults.
    blank_penalty: float = Field(ge=-MAX_PENALTY, le=MAX_PENALTY)
    insertion_penalty: float = Field(0.0, ge=-MAX_PENALTY, le=MAX_PENALTY)
    repetition_penalty: float = Field(0.0, ge=-MAX_PENALTY, le=MAX_PENALTY)
    beam_width: int = Field(DEFAULT_BEAM_WIDTH, ge=1, le=MAX_BEAM_WIDTH)
    undoubted: bool = False
    # How the model scores whether a clip shows any sign of its vocabulary. Older cards lack it.
    vocabulary_score: VocabularyScore | None = None
    parameters: int = Field(ge=0, le=10**12)
    config: dict[str, str | int | float | bool | None]
    metrics: Metrics
    # The split by which this checkpoint was chosen among others; its accuracy there is optimistic. Empty if there was
    # no choice.
    selected_on: Label = ""
    onnx_difference: Finite  # largest difference between the probabilities of ONNX and torch on real clips at export
    # Median over these clips of each one's largest difference, and how many clips there were. Older cards lack both.
    onnx_median_difference: Finite | None = None
    onnx_clips: Count = 0
    # sha256 of the other files of this version, by file name.
    files: dict[str, str]

    @property
    def sampling_difference(self) -> str:
        """How the sampling of its clips differs from today's, in words; "" if it does not."""
        return describe_sampling_difference(self.frame_rate, self.smoothing_seconds)

    @property
    def decoder(self) -> ContinuousDecoder:
        """The model's decoder of continuous signing."""
        return ContinuousDecoder(
            self.beam_width, self.blank_penalty, self.insertion_penalty, self.repetition_penalty, self.undoubted
        )


class AliasMove(BaseModel):
    """One entry in the history of an alias."""

    model_config = ConfigDict(frozen=True)

    version: str
    moved: str


class Alias(BaseModel):
    """aliases/<alias>.json."""

    model_config = ConfigDict(frozen=True)

    version: str
    history: tuple[AliasMove, ...] = ()


def new_version(run_id: str, content: bytes) -> str:
    """A new version: the UTC time, by which versions sort, and a hash of the run's id and the content.

    Two runs may publish the same weights in the same second; the run's id makes their versions differ.
    """
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{hashlib.sha256(run_id.encode() + content).hexdigest()[:8]}"


def publish(store: ObjectStore, card: ModelCard, files: dict[str, bytes], alias: str = LATEST) -> None:
    """Store a version, with its card last, and move an alias to it.

    Raises:
        AlreadyExists: the version exists already.
    """
    for name, data in files.items():
        store.create(keys.model(card.name, card.version, name), data)
    store.create(keys.model(card.name, card.version, CARD), card.model_dump_json(by_alias=True, indent=1).encode())
    move_alias(store, card.name, alias, card.version)


def move_alias(store: ObjectStore, name: str, alias: str, version: str) -> None:
    """Move an alias to another version, by compare-and-swap.

    Raises:
        NotFound: there is no such version.
        Conflict: another writer moved the alias at each attempt.
    """
    read_card(store, name, version)
    key = keys.alias(name, alias)
    move = AliasMove(version=version, moved=datetime.now(UTC).isoformat(timespec="seconds"))
    for _ in range(_ALIAS_ATTEMPTS):
        try:
            data, etag = store.get_versioned(key)
        except NotFound:
            data, etag = b"", None
        history = () if etag is None else _history(store, key, data)
        moved = Alias(version=version, history=(*history, move)).model_dump_json(indent=1).encode()
        try:
            if etag is None:
                store.create(key, moved)
            else:
                store.replace(key, moved, etag)
        except (AlreadyExists, Conflict):
            continue
        return
    raise Conflict(f"{key}: other writers moved this alias {_ALIAS_ATTEMPTS} times meanwhile. Try again.")


def resolve(store: ObjectStore, name: str, version_or_alias: str) -> str:
    """The version that a version or an alias names.

    Raises:
        NotFound: there is no such version and no such alias.
    """
    try:
        key = keys.alias(name, version_or_alias)
        return _parse_alias(read_limited(store, key), key).version
    except NotFound:
        pass
    if store.stat(keys.model(name, version_or_alias, CARD)):
        return version_or_alias
    raise NotFound(
        f"{store.url}: model {quote(name)} has no version or alias {quote(version_or_alias)}. `signet models` lists "
        "them; `signet train` publishes one."
    )


def read_card(store: ObjectStore, name: str, version: str) -> ModelCard:
    """Read the card of a version.

    Raises:
        NotFound: there is no such version.
        DataLoss: the card cannot be read.
    """
    key = keys.model(name, version, CARD)
    try:
        card = ModelCard.model_validate_json(read_limited(store, key))
    except NotFound:
        raise NotFound(
            f"{store.url}: model {quote(name)} has no version {quote(version)}. `signet models` lists them."
        ) from None
    except ValidationError as error:
        raise DataLoss(f"{store.url}/{key}: not a model card ({describe_first_fault(error)}).") from error
    if (card.name, card.version) != (name, version):
        raise DataLoss(
            f"{store.url}/{key}: this is the card of another model or version. Delete this version, and publish the "
            "model again."
        )
    return card


def read_file(store: ObjectStore, card: ModelCard, file: str) -> bytes:
    """Read one file of a version, and check it against the card.

    Raises:
        NotFound: the card names no such file.
        DataLoss: the file is damaged or gone.
    """
    if file not in card.files:
        raise NotFound(f"model {card.name}/{card.version} has no file {quote(file)}; it has {', '.join(card.files)}.")
    key = keys.model(card.name, card.version, file)
    try:
        info = store.stat(key)
        if info is not None and info.size > MAX_FILE_BYTES:
            raise DataLoss(f"{store.url}/{key}: has {info.size} bytes, too many for a file of a model. Delete it.")
        data = store.get(key)
    except NotFound:
        raise DataLoss(f"{store.url}/{key} is gone. Publish the model again.") from None
    if hashlib.sha256(data).hexdigest() != card.files[file]:
        raise DataLoss(f"{store.url}/{key} is damaged: its sha256 differs from the card's. Publish the model again.")
    return data


def versions(store: ObjectStore, name: str) -> list[str]:
    """All complete versions of a model, the oldest first. Objects that belong to no version are skipped."""
    found = []
    for info in store.list(keys.models(name)):
        if info.key.startswith(keys.aliases(name)):
            continue
        if not keys.model_file(name, info.key)[0]:
            log_skipped_object(store, info.key, "it is not a file of a model. Delete it.")
        elif (version := keys.name_between(info.key, keys.models(name), f"/{CARD}")) != "":
            found.append(version)
    return found


def aliases(store: ObjectStore, name: str) -> dict[str, str]:
    """The version that each alias of a model names. Objects that are not aliases are skipped."""
    found = {}
    for info in store.list(keys.aliases(name)):
        alias_name = keys.name_between(info.key, keys.aliases(name), ".json")
        if not alias_name:
            log_skipped_object(store, info.key, "it is not an alias. Delete it.")
            continue
        try:
            found[alias_name] = _parse_alias(read_limited(store, info.key), info.key).version
        except NotFound:
            continue  # deleted since it was listed
        except DataLoss as error:
            log_skipped_object(store, info.key, str(error))
    return found


def _history(store: ObjectStore, key: str, data: bytes) -> tuple[AliasMove, ...]:
    """The history of a stored alias. A damaged alias has none: it is replaced by the next move."""
    try:
        return _parse_alias(data, key).history
    except DataLoss as error:
        log_skipped_object(store, key, f"{error} It is replaced now, and its history is lost.")
        return ()


def _parse_alias(data: bytes, key: str) -> Alias:
    try:
        parsed = Alias.model_validate_json(data)
    except ValidationError as error:
        raise DataLoss(f"{key}: not an alias ({error.error_count()} faults). Delete it and publish again.") from error
    if not keys.is_name(parsed.version):
        raise DataLoss(f"{key}: not an alias: no version has such a name. Delete it and publish again.")
    return parsed
