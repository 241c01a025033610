"""The manifest of a corpus: it says that an extraction has finished, and which clips the corpus holds.

An extraction stores landmarks clip by clip, and the stored clips do not show whether more will come. So a finished
extraction writes a manifest, and training can wait for it. If an extraction is divided into shards on several machines,
each finished shard writes a note, and the shard that finds the notes of all shards writes the manifest.
"""

import hashlib
import json
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from signet.errors import DataLoss, InvalidInput, NotFound
from signet.store import ObjectStore, keys

SCHEMA = "signet.corpus/1"


class CorpusManifest(BaseModel):
    """corpora/<corpus>/manifest.json: replaced by each extraction of the corpus that finishes."""

    model_config = ConfigDict(frozen=True)

    schema_version: str = Field(default=SCHEMA, alias="schema")
    corpus: str
    version: str  # the same clips from the same extractor give the same version
    extractor: str
    clips: tuple[str, ...]


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
            raise InvalidInput(f"shard {text!r}: write i/n with i from 0 to n - 1, for example 0/4.")
        return cls(int(index), int(count))

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


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
        notes = [key for key in listed if key.endswith(f"-of-{shard.count}.json")]
        if len(notes) < shard.count:
            return None
    prefix = keys.clips(corpus)
    clips = tuple(info.key.removeprefix(prefix).removesuffix(".safetensors") for info in store.list(prefix))
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
        return CorpusManifest.model_validate_json(store.get(key))
    except NotFound:
        return None
    except ValidationError as error:
        raise DataLoss(
            f"{store.url}/{key}: not a corpus manifest ({error.error_count()} faults). Delete it and extract again: "
            "stored clips are not extracted twice."
        ) from error
