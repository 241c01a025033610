"""The manifest of a corpus: it says that an extraction has finished, and which clips the corpus holds.

An extraction stores landmarks clip by clip, and the stored clips do not show whether more will come. So a finished
extraction writes a manifest, and training can wait for it. If an extraction is divided into shards on several machines,
each finished shard writes a note, and the shard that finds the notes of all shards writes the manifest.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.errors import DataLoss, InvalidInput, InvalidLandmarks, NotFound, quote
from signet.field_types import Label, describe_first_fault
from signet.landmarks import HEADER_BYTES, ClipRecord, read_record
from signet.store import ObjectInfo, ObjectStore, keys
from signet.store.strays import log_skipped_object, read_limited

SCHEMA = "signet.corpus/1"

# The largest clip. `landmarks.MAX_FRAMES` frames have 19 MB; later versions of the format may add tensors.
MAX_CLIP_BYTES = 64 << 20

Result = TypeVar("Result")


class CorpusManifest(BaseModel):
    """corpora/<corpus>/manifest.json: replaced by each extraction of the corpus that finishes."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    corpus: Label
    version: Label  # the same clips from the same extractor give the same version
    extractor: Label
    clips: tuple[Label, ...]


@dataclass(frozen=True)
class Shard:
    """A part of an extraction: every `count`-th clip of the selection, starting with clip `index`."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InvalidInput(
                f"shard {self.index}/{self.count} does not exist. Write i/n with i from 0 to n - 1: 0/4, 1/4, 2/4, 3/4."
            )

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse "i/n".

        Raises:
            InvalidInput: the text has another form.
        """
        index, slash, count = text.partition("/")
        if not slash or not index.isdecimal() or not count.isdecimal():
            raise InvalidInput(f"shard {quote(text)}: write i/n with i from 0 to n - 1, for example 0/4.")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


def list_clips(store: ObjectStore, corpus: str) -> list[ObjectInfo]:
    """The objects of a corpus that may be clips, by their names and sizes. Other objects are skipped."""
    clips = []
    for info in store.list(keys.clips(corpus)):
        if not keys.clip_id(corpus, info.key):
            log_skipped_object(store, info.key, "it is not a clip of this corpus. Delete it.")
        elif info.size > MAX_CLIP_BYTES:
            log_skipped_object(store, info.key, f"it has {info.size} bytes, too many for a clip. Delete it.")
        else:
            clips.append(info)
    return clips


def list_corpora(store: ObjectStore) -> list[str]:
    """The names of the corpora of which an extraction or an import has finished."""
    return sorted(name for info in store.list(keys.corpora()) if (name := keys.corpus_of_manifest(info.key)))


def read_clip(store: ObjectStore, key: str, read: Callable[[str], Result]) -> Result | None:
    """What `read` makes of the clip with this key; None if the clip is damaged or was deleted since it was listed.

    A damaged clip is logged once.
    """
    try:
        return read(key)
    except InvalidLandmarks as error:
        log_skipped_object(store, key, f"the clip is damaged. Delete it, and extract or import it again. ({error})")
    except NotFound:
        pass
    return None


def read_clip_record(store: ObjectStore, key: str) -> ClipRecord | None:
    """The record of the clip with this key; None if the clip is damaged, which is logged once."""

    def read(key: str) -> ClipRecord:
        return check_own_record(read_record(store.get_head(key, HEADER_BYTES), key), key)

    return read_clip(store, key, read)


def check_own_record(record: ClipRecord, key: str) -> ClipRecord:
    """Return the record, if it is that of the clip with this key.

    Raises:
        InvalidLandmarks: the object is a copy of another clip, or its record has names that no part of Signet writes.
    """
    folder, _, name = key.rpartition("/")
    if name != f"{record.clip_id}.safetensors":
        raise InvalidLandmarks(f"{key}: this is a copy of the clip {quote(record.clip_id)} in {folder}.")
    if record.corpus and not keys.is_name(record.corpus):
        raise InvalidLandmarks(f"{key}: no corpus has the name {quote(record.corpus)}.")
    return record


def finish_extraction(
    store: ObjectStore, corpus: str, extractor: str, shard: Shard, selection: str
) -> CorpusManifest | None:
    """Note that a shard of an extraction has finished, and write the manifest if it was the last.

    `selection` is a name for the selected clips; it is the same in all shards of one extraction.

    Returns:
        The manifest, or None while other shards are running.
    """
    notes: list[str] = []
    if shard.count > 1:
        store.put(keys.corpus_shard(corpus, selection, str(shard)), b"{}")
        # The note is written before the notes are counted. So if shards finish together, the last one sees all notes.
        listed = [info.key for info in store.list(keys.corpus_shards(corpus, selection))]
        notes = [key for key in listed if _is_note(key, corpus, selection, shard.count)]
        if len(notes) < shard.count:
            return None
    clips = tuple(keys.clip_id(corpus, info.key) for info in list_clips(store, corpus))
    content = json.dumps([SCHEMA, corpus, extractor, clips]).encode()
    manifest = CorpusManifest(
        corpus=corpus, version=hashlib.sha256(content).hexdigest()[:16], extractor=extractor, clips=clips
    )
    store.put(keys.corpus_manifest(corpus), manifest.model_dump_json(by_alias=True, indent=1).encode())
    for key in notes:
        store.delete(key)  # the next extraction of the same clips starts without notes
    return manifest


def read_manifest(store: ObjectStore, corpus: str) -> CorpusManifest | None:
    """The manifest of a corpus, or None before an extraction of it has finished.

    Raises:
        DataLoss: the manifest cannot be read.
    """
    key = keys.corpus_manifest(corpus)
    try:
        return CorpusManifest.model_validate_json(read_limited(store, key))
    except NotFound:
        return None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: not a corpus manifest ({describe_first_fault(error)}). Delete it and extract again: "
            "stored clips are not extracted twice."
        ) from error


def _is_note(key: str, corpus: str, selection: str, count: int) -> bool:
    """Whether a key is that of the note of one of `count` shards."""
    index = keys.name_between(key, keys.corpus_shards(corpus, selection), f"-of-{count}.json")
    return index.isascii() and index.isdecimal() and index == str(int(index[:10])) and int(index) < count
