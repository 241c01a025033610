"""Reads MP_Data: `<sign>/<recording>/<frame>.npy`, or one .npy file with all frames of a recording."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from services.extractor.importing.mp_data.layouts import LAYOUTS, Numbers, frame_width, sequence_width, split_parts
from services.extractor.importing.mp_data.npy import NotNumbers, read_numbers
from services.extractor.importing.mp_data.tree import (
    FoundRecording,
    check_names,
    clip_ids,
    files_of_recordings,
    folders_of_frames,
)
from services.extractor.importing.source import ImportOptions, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey, survey_path
from services.extractor.importing.unlabelled.corpus import make_source
from services.extractor.importing.unlabelled.raw import RawLandmarks, Recording
from services.extractor.sources.wording import name_some
from signet.errors import ClipError, InvalidInput
from signet.landmarks.tensor import MAX_FRAMES

_SUFFIX = ".npy"
_MOST_NAMED = 5
# A recording with a smaller share of usable frames is broken.
_MIN_USABLE_SHARE = 0.5
_ADVICE = (
    f"Frames with {', '.join(map(str, sorted(LAYOUTS, reverse=True)))} numbers can be imported (1662: pose 33 x 4, "
    "face 468 x 3, left and right hand 21 x 3)."
)


def open_mp_data(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open a tree of .npy files.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: it has no recording that can be used.
    """
    survey = survey_path(path)
    folder = path if path.is_dir() else path.parent
    files = [file for file in survey.files if file.suffix.lower() == _SUFFIX]
    if not files:
        raise InvalidInput(f"{path}: holds no .npy file. Found: {survey.describe()}.")
    frames, whole, text = _sort_files(folder, files)
    folders, strays = folders_of_frames(path, frames)
    found = [*folders, *files_of_recordings(path, whole)]
    if not found:
        raise InvalidInput(f"{path}: none of {len(files)} .npy files holds frames of landmarks. {_ADVICE}")
    found.sort(key=lambda each: each.name)
    notes = [f"{len(strays)} .npy files belong to no recording: {name_some(strays)}"] if strays else []
    notes += [f"{len(text)} .npy files hold text, no landmarks: {name_some(text)}"] if text else []
    usable, failures = check_names(found)
    ids = clip_ids([(each.gloss, each.name) for each in usable])
    recordings = [
        Recording(each.name, clip_id, each.gloss, partial(_read, folder, each), each.split)
        for clip_id, each in zip(ids, usable, strict=True)
    ]
    return make_source("mp-data", "mp-data", recordings, options, failures=failures, notes=notes)


def _sort_files(folder: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Files of frames, files of whole recordings, and files of text. One file of each folder is opened to tell.

    All files of the uppermost folders are opened: arrays of labels and of whole data sets lie there.
    """
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, []).append(file)
    inner = {parent for place in by_folder for parent in place.parents}
    frames: list[Path] = []
    whole: list[Path] = []
    text: list[Path] = []
    for place, own in by_folder.items():
        samples = own if place in inner or len(by_folder) == 1 else own[:: max(1, len(own) // 3)]
        contents = {file: _content(folder / file) for file in samples}
        texts = [file for file, content in contents.items() if content == "text"]
        text += texts
        counts = Counter(content for content in contents.values() if content not in {"text", "unknown"})
        kind = counts.most_common(1)[0][0] if counts else "frame"
        (whole if kind == "recording" else frames).extend(file for file in own if file not in texts)
    return frames, whole, text


def _content(path: Path) -> str:
    """What a file holds: "frame", "recording", "text", or "unknown"."""
    try:
        array, _ = read_numbers(path)
    except NotNumbers:
        return "text"
    except ClipError:
        return "unknown"
    if frame_width(array.shape):
        return "frame"
    return "recording" if sequence_width(array.shape) else "unknown"


def _read(folder: Path, found: FoundRecording) -> RawLandmarks:
    """The landmarks of one recording.

    Raises:
        ClipError: too few of its frames can be used.
    """
    if found.is_file:
        return _read_whole(folder / found.files[0], found)
    if len(found.files) > MAX_FRAMES:
        raise ClipError("long", f"{found.name}: has {len(found.files)} frames; at most {MAX_FRAMES} are allowed.")
    digest = hashlib.sha256()
    rows: dict[int, Numbers] = {}
    lengths: dict[int, int] = {}
    faults = list(found.faults)
    for file, number in zip(found.files, found.numbers, strict=True):
        try:
            array, data = read_numbers(folder / file)
            digest.update(data)
            lengths[number] = array.size
            if array.size in LAYOUTS:  # others may be as large as a file can be, and are not kept
                rows[number] = array.reshape(-1)
        except (ClipError, NotNumbers) as error:
            digest.update(b"unusable")
            faults.append(str(error) or f"{file.name}: holds text")
    width = _choose_width(lengths.values(), found.name, faults)
    wrong = {number: length for number, length in lengths.items() if length != width}
    if wrong:
        number, length = next(iter(wrong.items()))
        faults.append(
            f"{len(wrong)} frames have another length: frame {number} has {length} instead of {width} numbers"
        )
    good = [number for number in lengths if number not in wrong]
    if len(good) < _MIN_USABLE_SHARE * len(found.files):
        raise ClipError(
            "frames",
            f"{found.name}: {len(found.files) - len(good)} of {len(found.files)} frames cannot be used. {faults[0]}",
        )
    return _convert(np.stack([rows[number] for number in good]), good, width, digest.hexdigest(), faults)


def _read_whole(path: Path, found: FoundRecording) -> RawLandmarks:
    """The landmarks of a recording that is one file."""
    try:
        array, data = read_numbers(path)
    except NotNumbers as error:
        raise ClipError("type", f"{found.name}: holds text, no landmarks.") from error
    width = sequence_width(array.shape)
    if not width:
        raise ClipError("shape", f"{found.name}: an array {list(array.shape)} is no recording. {_ADVICE}")
    rows = array.reshape(len(array), width)
    return _convert(rows, range(len(rows)), width, hashlib.sha256(data).hexdigest(), found.faults)


def _choose_width(lengths: Iterable[int], name: str, faults: Sequence[str]) -> int:
    """The most frequent known number of numbers in a frame."""
    widths = Counter(lengths)
    known = [width for width, _ in widths.most_common() if width in LAYOUTS]
    if not known:
        reason = f"its frames have {', '.join(map(str, sorted(widths)[:_MOST_NAMED]))} numbers" if widths else faults[0]
        raise ClipError("shape", f"{name}: {reason}. {_ADVICE}")
    return known[0]


def _convert(
    rows: Numbers, numbers: Sequence[int], width: int, source_sha256: str, faults: Sequence[str]
) -> RawLandmarks:
    layout = LAYOUTS[width]
    pose, visibility, hands = split_parts(rows, layout)
    return RawLandmarks(
        pose=pose,
        visibility=visibility,
        hands=hands,
        numbers=np.asarray(numbers, np.int64),
        source_sha256=source_sha256,
        faults=tuple(faults),
        has_pose=layout.has_pose,
    )


def _matches(survey: PathSurvey) -> bool:
    """Whether a sample is a frame or a recording of landmarks."""
    return any(_content(path) in {"frame", "recording"} for path in survey.samples.get("npy", ()))


KIND = Kind(
    name="mp-data",
    layout="folders <sign>/<recording>/<frame>.npy of the action-detection tutorial, or <sign>/<recording>.npy",
    matches=_matches,
    open=open_mp_data,
    options=frozenset({"fps", "aspect", "width", "height", "mirrored", "splits"}),
)
