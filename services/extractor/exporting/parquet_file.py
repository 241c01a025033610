"""Writes parquet files in the layout of Kaggle's asl-signs: 543 rows for each frame, and a table train.csv.

x and z are in frame widths and y in frame heights, null where a part was not found. Faces are not stored in a corpus,
so their rows are empty. The visibility of the pose's joints has no column. The table has the four columns of Kaggle,
and what these leave out: clip, signer, split, fps, width and height.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from services.extractor.exporting.frame_times import frame_numbers
from services.extractor.importing.parquet.competition import TABLE
from services.extractor.importing.parquet.labels import COLUMNS, MORE_COLUMNS
from services.extractor.importing.parquet.landmark_table import load_pyarrow
from signet.landmarks import LEFT_HAND, POSE, RIGHT_HAND, ClipRecord, Landmarks

SIGNS = "sign_to_prediction_index_map.json"

_FACE_POINTS = 468
# The types of landmarks in the order of Kaggle's files, their numbers of points, and their joints.
_TYPES = (
    ("face", _FACE_POINTS, None),
    ("left_hand", 21, LEFT_HAND),
    ("pose", 33, POSE),
    ("right_hand", 21, RIGHT_HAND),
)
_ROWS = sum(points for _, points, _ in _TYPES)
# Kaggle's numbers of participants and sequences fit into 53 bits, which a float holds exactly.
_HASH_DIGITS = 13


class ParquetWriter:
    """Writes clips as `train_landmark_files/<participant>/<sequence>.parquet`, and the table train.csv.

    Raises:
        NotReady: pyarrow is not installed.
    """

    suffix = ".parquet"
    table = TABLE
    columns: Sequence[str] = (*COLUMNS, *MORE_COLUMNS)

    def __init__(self) -> None:
        self._parquet = load_pyarrow()

    def relative_path(self, record: ClipRecord) -> str:
        """Where the file of a clip is below the folder of the export."""
        return f"train_landmark_files/{_number(record.signer)}/{_number(record.clip_id)}{self.suffix}"

    def row(self, record: ClipRecord) -> Mapping[str, object]:
        """The row of a clip in the table."""
        return {
            "path": self.relative_path(record), "participant_id": _number(record.signer),
            "sequence_id": _number(record.clip_id), "sign": record.gloss, "clip": record.clip_id,
            "signer": record.signer, "split": record.split, "fps": repr(record.fps), "width": record.width,
            "height": record.height,
        }  # fmt: skip

    def further_files(self, rows: Sequence[Mapping[str, str]]) -> Mapping[str, bytes]:
        """The numbers of the signs, in alphabetical order."""
        signs = sorted({row["sign"] for row in rows})
        numbers = {sign: number for number, sign in enumerate(signs)}
        return {SIGNS: json.dumps(numbers, ensure_ascii=False, indent=0).encode()}

    def encode(self, clip: Landmarks) -> bytes:
        """The bytes of a file."""
        import pyarrow  # noqa: PLC0415  (an extra of its own, 170 MB)

        frames = frame_numbers(clip)
        aspect = clip.record.width / clip.record.height
        values = np.full((clip.frames, _ROWS, 3), np.nan)
        start = 0
        for _, points, joints in _TYPES:
            if joints is not None:
                values[:, start : start + points] = clip.landmarks[:, joints].astype(np.float64) / [aspect, 1, aspect]
            start += points
        flat = values.reshape(-1, 3)
        kinds = [name for name, points, _ in _TYPES for _ in range(points)]
        index = [point for _, points, _ in _TYPES for point in range(points)]
        columns = {
            "frame": pyarrow.array(np.repeat(frames, _ROWS).astype(np.int32)),
            "row_id": [f"{frame}-{kind}-{point}" for frame in frames for kind, point in zip(kinds, index, strict=True)],
            "type": kinds * clip.frames,
            "landmark_index": pyarrow.array(np.tile(np.array(index, np.int16), clip.frames)),
            **{name: pyarrow.array(flat[:, axis], from_pandas=True) for axis, name in enumerate("xyz")},
        }
        output = io.BytesIO()
        self._parquet.write_table(pyarrow.table(columns), output, compression="zstd")
        return output.getvalue()


def _number(name: str) -> int:
    """A number for a name: the number that it is, or else one of its hash."""
    if name.isdecimal() and name.isascii() and str(int(name)) == name and len(name) < _HASH_DIGITS:
        return int(name)
    return int(hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS], 16)
