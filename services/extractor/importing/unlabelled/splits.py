"""Splits of recordings whose files do not say any: from the user's CSV file, or assigned by recording.

Own videos have a rule of their own (`sources.own.splits`), which also keeps the clips of a signer together and the
splits of stored clips.
"""

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.extractor.sources.instances import SPLITS
from services.extractor.sources.wording import name_some
from signet.errors import InvalidInput, NotFound, quote
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.text_files import parse_table

# A gloss with this many different recordings or more has some of them in val.
MIN_RECORDINGS_FOR_VAL = 4
_VAL_SHARE = 0.2

_OPTIONAL = ("gloss", "split", "signer")
_SPLIT_NAMES = {"training": "train", "dev": "val", "valid": "val", "validation": "val", "testing": "test"}
# A file of splits has about 100 bytes for each clip.
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class ClipLabels:
    """What a file of splits says about a clip; "" where it says nothing."""

    gloss: str = ""
    split: str = ""
    signer: str = ""


def split_named(name: str) -> str:
    """The split of this name, such as "val" for "validation"; "" if there is none."""
    lowered = name.strip().lower()
    return lowered if lowered in SPLITS else _SPLIT_NAMES.get(lowered, "")


def read_splits(path: Path) -> dict[str, ClipLabels]:
    """Read the labels of clips from a CSV file with the column clip, and gloss, split or signer.

    Raises:
        NotFound: the file does not exist.
        InvalidInput: it is not such a file.
    """
    if not path.is_file():
        raise NotFound(f"{path}: no such file. --splits names a CSV file with the columns clip, gloss, split, signer.")
    if path.stat().st_size > _MOST_BYTES:
        raise InvalidInput(f"{path}: has more than {_MOST_BYTES >> 20} MiB. It needs one line for each clip.")
    labels: dict[str, ClipLabels] = {}
    for row in parse_table(path.read_bytes(), str(path), ("clip",), _OPTIONAL):
        cells = {name: row.cells.get(name, "") for name in ("clip", *_OPTIONAL)}
        place = f"{path} line {row.line}"
        if row.surplus:
            raise InvalidInput(f"{place}: has {row.surplus} more values than the first line has columns.")
        split = split_named(cells["split"])
        if cells["split"] and not split:
            raise InvalidInput(f"{place}: {quote(cells['split'])} is no split. The splits are {', '.join(SPLITS)}.")
        if fault := describe_gloss_fault(cells["gloss"]) or describe_label_fault(cells["signer"]):
            raise InvalidInput(f"{place}: gloss or signer cannot be used: {fault}.")
        found = ClipLabels(cells["gloss"], split, cells["signer"])
        if labels.setdefault(cells["clip"], found) != found:
            raise InvalidInput(f"{place}: {quote(cells['clip'])} is listed twice with different values.")
    return labels


def describe_strangers(path: Path | None, given: Mapping[str, ClipLabels], names: Container[str]) -> list[str]:
    """A note about the lines of a file of splits that name no clip of a corpus.

    Args:
        path: the file.
        given: its lines, by the name of the clip.
        names: all names of the clips of the corpus.
    """
    strangers = [name for name in given if name not in names]
    if not strangers:
        return []
    return [f"{path}: {len(strangers)} lines name no clip of this corpus, for example {name_some(strangers)}"]


def assign_splits(glosses: Mapping[str, str], groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """Assign train or val to clips, so that copies of one recording are in one split.

    Each gloss with at least `MIN_RECORDINGS_FOR_VAL` different recordings has a fifth of them in val. All others, and
    recordings that are under several glosses, are in train. The choice depends on the names of the clips only.

    Args:
        glosses: the gloss of each clip.
        groups: clips that are copies of one recording; groups with one clip may be left out.
    """
    grouped = {clip_id for group in groups for clip_id in group}
    recordings = [*map(tuple, groups), *((clip_id,) for clip_id in glosses if clip_id not in grouped)]
    by_gloss: dict[str, list[tuple[str, ...]]] = {}
    for recording in recordings:
        named = {glosses[clip_id] for clip_id in recording}
        if len(named) == 1:
            by_gloss.setdefault(named.pop(), []).append(recording)
    splits = dict.fromkeys(glosses, "train")
    for same in by_gloss.values():
        if len(same) >= MIN_RECORDINGS_FOR_VAL:
            ordered = sorted(same, key=lambda group: hashlib.sha256(min(group).encode()).digest())
            for recording in ordered[: max(1, round(_VAL_SHARE * len(same)))]:
                splits.update(dict.fromkeys(recording, "val"))
    return splits
