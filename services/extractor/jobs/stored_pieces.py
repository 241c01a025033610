"""The pieces of long videos that are in the store."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from services.extractor.sources.instances import Instance
from services.extractor.sources.pieces import make_piece, make_piece_id, parse_piece_id
from services.extractor.sources.selection import Usable
from services.extractor.video.decode import Segment
from signet.landmarks import ClipRecord

FindRecord = Callable[[Instance], ClipRecord | None]


class StoredPieces:
    """Finds out which long videos are stored, from the ids of the stored clips.

    Args:
        clip_ids: the ids of all stored clips of the corpus.
    """

    def __init__(self, clip_ids: Iterable[str]) -> None:
        # By the id of the whole video and the number of its pieces.
        self._numbers: dict[str, dict[int, set[int]]] = {}
        for clip_id in clip_ids:
            whole, number, count = parse_piece_id(clip_id)
            if whole != clip_id:
                self._numbers.setdefault(whole, {}).setdefault(count, set()).add(number)

    def find_any(self, clip_id: str) -> str:
        """The id of a stored piece of a video; "" if there is none."""
        for count, numbers in sorted(self._numbers.get(clip_id, {}).items()):
            return make_piece_id(clip_id, min(numbers), count)
        return ""

    def find_complete(self, instance: Instance, find_record: FindRecord) -> Usable | None:
        """The pieces of a whole video, if all of them are stored.

        Args:
            instance: the whole video.
            find_record: returns the record of a stored piece that was made from this video, or raises an error.
        """
        for count, numbers in sorted(self._numbers.get(instance.clip_id, {}).items()):
            if len(numbers) < count:
                continue
            records = [find_record(make_piece(instance, number, count)) for number in range(1, count + 1)]
            pieces = [to_usable(record) for record in records if record is not None]
            ends = [0, *(piece.segment.end for piece in pieces)]
            if len(pieces) == count and [piece.segment.start - 1 for piece in pieces] == ends[:-1]:
                return Usable(pieces[0].sha256, Segment(1, ends[-1]), pieces=tuple(pieces))
        return None


def mark_stored_pieces(
    instance: Instance, usable: Usable, find_record: FindRecord, conflict: Callable[[str, str], Exception]
) -> Usable:
    """Note which pieces of a long video are stored.

    Args:
        instance: the whole video.
        usable: its pieces.
        find_record: as for `StoredPieces.find_complete`.
        conflict: makes the error for the id of a stored clip and a difference.

    Raises:
        AlreadyExists: a stored piece has other frames.
    """
    pieces = []
    for number, piece in enumerate(usable.pieces, start=1):
        part = make_piece(instance, number, len(usable.pieces))
        record = find_record(part)
        if record is not None and to_usable(record).segment != piece.segment:
            made = f"made of frames {record.frame_start} to {record.frame_end}"
            raise conflict(part.clip_id, f"{made}, not {piece.segment.start} to {piece.segment.end}")
        pieces.append(replace(piece, stored=record is not None))
    return replace(usable, pieces=tuple(pieces))


def to_usable(record: ClipRecord) -> Usable:
    """The verdict on a stored clip."""
    segment = Segment(record.frame_start, record.frame_end)
    return Usable(record.source_sha256, segment, note=" ".join(record.warnings), stored=True)
