"""Reads `train.csv` of a data set in the layout of asl-signs, and divides its clips by signer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from services.extractor.importing.source import MAX_FPS, MAX_PIXELS, FrameSize
from services.extractor.importing.unlabelled.splits import assign_splits, split_named
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.instances import SPLITS
from signet.datasets.snapshot import DatasetClip
from signet.datasets.splits import signer_folds
from signet.errors import InvalidInput, quote
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.store import keys
from signet.text_files import TableRow, parse_integer, parse_number, parse_table

COLUMNS = ("path", "participant_id", "sequence_id", "sign")
# What `signet export` adds.
MORE_COLUMNS = ("clip", "signer", "split", "fps", "width", "height")

# One of so many folds by signer is held out.
_FOLDS = 5
# The table of all of asl-signs has 6 MB.
_MOST_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Row:
    """A clip that the table lists. `size`, `fps`, `split` and `signer` are None, 0 or "" if they are unknown."""

    clip_id: str
    path: str
    gloss: str
    signer: str
    split: str
    fps: float
    size: FrameSize | None


def read_rows(path: Path) -> tuple[list[Row], list[ClipFailure]]:
    """The usable rows of the table, and why the others are not.

    Raises:
        InvalidInput: it is no such table, or has no usable row.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidInput(f"{path}: has more than {_MOST_BYTES >> 20} MiB. It needs one line for each clip.")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror or error}).") from error
    rows: dict[str, Row] = {}
    failures = []
    for line in parse_table(data, str(path), ("path", "sign"), (*COLUMNS, *MORE_COLUMNS)):
        name = line.cells["path"][:200] or f"line {line.line}"
        try:
            row = _read_row(line)
        except ValueError as error:
            failures.append(ClipFailure(name, "index", f"{path.name} line {line.line}: {error}."))
        except InvalidInput as error:
            failures.append(ClipFailure(name, "index", f"{path.name} line {line.line}: {error}"))
        else:
            if rows.setdefault(row.clip_id, row) is not row:
                message = f"{path.name} line {line.line}: {row.clip_id} is listed twice."
                failures.append(ClipFailure(name, "index", message))
    if not rows:
        reason = failures[0].message if failures else f"{path}: lists no file."
        raise InvalidInput(f"{reason} No row of {path} can be used.")
    return list(rows.values()), failures


def _read_row(line: TableRow) -> Row:
    """Read a row.

    Raises:
        ValueError: it cannot be used.
        InvalidInput: its clip cannot be part of a key.
    """
    if line.surplus:
        raise ValueError(f"has {line.surplus} more values than the first line has columns")
    cells = line.cells
    place = PurePosixPath(cells["path"].replace("\\", "/"))
    if not cells["path"] or place.is_absolute() or ".." in place.parts:
        raise ValueError("the path must name a file below the folder of the table")
    gloss, signer = cells["sign"], cells.get("signer", cells.get("participant_id", ""))
    if fault := describe_gloss_fault(gloss) or describe_label_fault(signer):
        raise ValueError(f"sign or participant cannot be used: {fault}")
    if not gloss:
        raise ValueError("the sign is missing")
    split = split_named(cells.get("split", ""))
    if cells.get("split") and not split:
        raise ValueError(f"{quote(cells['split'])} is no split. The splits are {', '.join(SPLITS)}")
    sequence = cells.get("sequence_id") or place.stem
    default = f"{cells.get('participant_id') or place.parent.name}-{sequence}".strip("-")
    width, height = (parse_integer(cells.get(name) or "0") for name in ("width", "height"))
    fps = parse_number(cells.get("fps") or "0")
    sized = 0 < width <= MAX_PIXELS and 0 < height <= MAX_PIXELS
    return Row(
        clip_id=keys.check_name("clip", cells.get("clip") or default),
        path=str(place),
        gloss=gloss,
        signer=signer,
        split=split,
        fps=fps if 0 < fps <= MAX_FPS else 0.0,
        size=FrameSize(width, height) if sized else None,
    )


def choose_splits(rows: Sequence[Row]) -> tuple[dict[str, str], list[str]]:
    """Train or val for each clip, by its id, and notes. No signer is on both sides if there are enough signers.

    The notes are about the clips whose row says no split.
    """
    clips = [
        DatasetClip(
            clip_id=row.clip_id, gloss=row.gloss, split="", signer=row.signer, sha256="", source_sha256="", start=0,
            frames=0,
        )
        for row in rows
    ]  # fmt: skip
    signers = {row.signer for row in rows}
    if "" not in signers and len(signers) >= _FOLDS:
        held_out = signer_folds(clips, _FOLDS)[0]
        splits = {row.clip_id: "val" if row.clip_id in held_out else "train" for row in rows}
        held = {row.signer for row in rows if row.clip_id in held_out}
        how = f"all clips of {len(held)} of {len(signers)} signers are in val"
    else:
        splits = assign_splits({row.clip_id: row.gloss for row in rows}, ())
        how = "each sign with enough clips has a fifth of them in val. There are too few signers to hold some out"
    counts = Counter(splits[row.clip_id] for row in rows if not row.split)
    shown = ", ".join(f"{count} {split}" for split, count in sorted(counts.items()))
    return splits, [
        f"splits of {counts.total()} of {len(rows)} clips were assigned: {shown}; {how}. --splits gives other splits"
    ]
