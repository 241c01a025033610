"""Writes the clips of a corpus into a folder.

A file that is there is not written again, so the same command resumes an interrupted export. Damaged clips are named
and do not stop the others.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from services.extractor.exporting.parquet_file import ParquetWriter
from services.extractor.exporting.pose_file import PoseWriter
from services.extractor.exporting.writer import Writer, decode_table, encode_table, remove_leftovers, write_whole
from services.extractor.jobs.progress import ExtractionProgress, ExtractionState
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.instances import SPLITS
from signet.datasets.corpus import list_clips
from signet.errors import ClipError, InvalidInput, InvalidLandmarks, NotFound, quote
from signet.landmarks import HEADER_BYTES, ClipRecord, load, read_record
from signet.store import ObjectStore, keys

FORMATS: Mapping[str, Callable[[], Writer]] = {"pose": PoseWriter, "parquet": ParquetWriter}

# What the folder is an export of. A folder never mixes two corpora or formats.
_ORIGIN = "export.json"
_THREADS = 8
# Clips between two checks of `stopped`.
_BATCH = 64


@dataclass(frozen=True)
class ExportChoice:
    """Which clips to export: of these glosses and of these splits; all if empty."""

    glosses: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    def includes(self, record: ClipRecord) -> bool:
        """Whether a clip is to be exported."""
        return (not self.glosses or record.gloss in self.glosses) and (not self.splits or record.split in self.splits)

    def check(self, corpus: str, records: Sequence[ClipRecord]) -> None:
        """Refuse glosses that no clip has, which are often misspelled. A split may be empty.

        Raises:
            NotFound: a gloss or a split does not exist.
        """
        present = {record.gloss for record in records}
        if unknown := [gloss for gloss in self.glosses if gloss not in present]:
            raise NotFound(
                f"corpus {quote(corpus)}: no clip has the gloss {', '.join(map(quote, unknown))}. Correct --gloss."
            )
        splits = {*SPLITS, *(record.split for record in records)}
        if unknown := [split for split in self.splits if split not in splits]:
            raise NotFound(
                f"corpus {quote(corpus)}: {', '.join(map(quote, unknown))} is no split. The splits are "
                f"{', '.join(SPLITS)}. Correct --split."
            )


def run_export(
    store: ObjectStore,
    corpus: str,
    folder: Path,
    form: str,
    choice: ExportChoice = ExportChoice(),
    *,
    on_change: Callable[[ExtractionProgress], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> ExtractionProgress:
    """Write the clips of a corpus, and then the table that lists them.

    Args:
        store: the store of the landmarks.
        corpus: the name of the corpus.
        folder: where to write. It may hold an earlier export of the same corpus in the same format, which is extended.
        form: a key of `FORMATS`.
        choice: which clips.
        on_change: is called with each new state.
        stopped: is checked between batches; True ends the export after the current batch.

    Returns:
        The final progress: SUCCEEDED even if clips were damaged, or CANCELLED.

    Raises:
        NotFound: the corpus has no clip, none that is chosen, or none of a chosen gloss.
        InvalidInput: the format is unknown, or the folder cannot be used.
        SignetError: the store cannot be used.
    """
    if form not in FORMATS:
        raise InvalidInput(f"--format {quote(form)} does not exist. The formats are {', '.join(FORMATS)}.")
    started = time.monotonic()
    exporter = _Exporter(store, corpus, FORMATS[form](), folder)
    records, failures = _read_records(store, corpus)
    chosen = _choose(store, corpus, records, choice)
    _check_origin(folder, {"corpus": corpus, "format": form, "extractor": chosen[0].extractor})
    exporter.read_earlier_rows()  # a table that cannot be extended is reported before the work, not after it
    remove_leftovers(folder)
    progress = ExtractionProgress(
        state=ExtractionState.RUNNING,
        total=len(chosen) + len(failures),
        broken=len(failures),
        failures=tuple(failures),
        glosses=tuple(sorted({record.gloss for record in chosen})),
        clips=tuple(record.clip_id for record in chosen),
    )
    on_change(progress)
    pending = iter(chosen)
    with ThreadPoolExecutor(_THREADS) as threads:
        while not stopped() and (batch := list(islice(pending, _BATCH))):
            outcomes = list(threads.map(exporter.export_clip, batch))
            progress = progress.after_batch(outcomes, time.monotonic() - started)
            on_change(progress)
    exporter.write_tables([record for record in chosen if exporter.has(record)])
    state = ExtractionState.CANCELLED if progress.done < progress.total else ExtractionState.SUCCEEDED
    progress = replace(progress, state=state, elapsed_seconds=time.monotonic() - started)
    on_change(progress)
    return progress


def _read_records(store: ObjectStore, corpus: str) -> tuple[list[ClipRecord], list[ClipFailure]]:
    """The records of all clips, sorted by clip id, and the damaged clips."""

    def read(key: str) -> ClipRecord | ClipFailure | None:
        try:
            return read_record(store.get_head(key, HEADER_BYTES), key)
        except InvalidLandmarks as error:
            return ClipFailure(keys.clip_id(corpus, key) or key, "damaged", str(error))
        except NotFound:
            return None  # deleted since it was listed

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(read, sorted(info.key for info in list_clips(store, corpus))))
    return [each for each in found if isinstance(each, ClipRecord)], [
        each for each in found if isinstance(each, ClipFailure)
    ]


def _choose(store: ObjectStore, corpus: str, records: Sequence[ClipRecord], choice: ExportChoice) -> list[ClipRecord]:
    """The chosen clips.

    Raises:
        NotFound: there are none, or none of a chosen gloss.
    """
    chosen = [record for record in records if choice.includes(record)]
    if not chosen:
        raise NotFound(_describe_nothing(store, corpus, records))
    choice.check(corpus, records)
    return chosen


def _describe_nothing(store: ObjectStore, corpus: str, records: Sequence[ClipRecord]) -> str:
    if not records:
        return f"{store.url}/{keys.clips(corpus)}: has no clip. Extract or import clips first, or name another corpus."
    splits = sorted({record.split for record in records})
    return (
        f"corpus {quote(corpus)}: none of its {len(records)} clips has these glosses and splits. Its splits are "
        f"{', '.join(map(quote, splits))}."
    )


def _check_origin(folder: Path, origin: Mapping[str, str]) -> None:
    """Refuse a folder with an export of something else, and mark it as an export of this.

    Raises:
        InvalidInput: the folder cannot be used.
    """
    marker = folder / _ORIGIN
    try:
        found = json.loads(marker.read_bytes())
    except FileNotFoundError:
        write_whole(marker, json.dumps(origin).encode())
        return
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{marker}: cannot be read ({error}). Name another folder.") from error
    if found != dict(origin):
        raise InvalidInput(
            f"{folder}: holds an export of something else ({marker.name}: {json.dumps(found)[:300]}). Name another "
            "folder, or delete this one."
        )


class _Exporter:
    """Writes one clip at a time. It can be called from any thread."""

    def __init__(self, store: ObjectStore, corpus: str, writer: Writer, folder: Path) -> None:
        self._store = store
        self._corpus = corpus
        self._writer = writer
        self._folder = folder

    def has(self, record: ClipRecord) -> bool:
        """Whether the file of a clip is there."""
        return (self._folder / self._writer.relative_path(record)).is_file()

    def export_clip(self, record: ClipRecord) -> int | ClipFailure:
        """Write a clip. Returns the number of its frames, 0 if its file was there, or why it cannot be used."""
        if self.has(record):
            return 0
        key = keys.clip(self._corpus, record.clip_id)
        try:
            clip = load(self._store.get(key), key)
            data = self._writer.encode(clip)
        except ClipError as error:
            return ClipFailure(record.clip_id, error.reason, str(error))
        except (InvalidLandmarks, NotFound) as error:
            return ClipFailure(record.clip_id, "damaged", str(error))
        write_whole(self._folder / self._writer.relative_path(record), data)
        return clip.frames

    def read_earlier_rows(self) -> list[dict[str, str]]:
        """The rows of the table that an earlier export into this folder wrote.

        Raises:
            InvalidInput: the table cannot be read. Nothing is lost, because it is not written either.
        """
        table = self._folder / self._writer.table
        try:
            return decode_table(table.read_bytes(), self._writer.columns)
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"{table}: is not the table that the earlier export wrote ({error}). Restore it, or name another "
                "folder."
            ) from error

    def write_tables(self, records: Sequence[ClipRecord]) -> None:
        """Write the table of these clips and of those that an earlier export into this folder wrote."""
        table = self._folder / self._writer.table
        key = self._writer.columns[0]
        rows = {row[key]: row for row in self.read_earlier_rows()}
        rows |= {
            str(row[key]): {name: str(value) for name, value in row.items()} for row in map(self._writer.row, records)
        }
        ordered = [rows[name] for name in sorted(rows)]
        write_whole(table, encode_table(self._writer.columns, ordered))
        for name, data in self._writer.further_files(ordered).items():
            write_whole(self._folder / name, data)
