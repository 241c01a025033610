"""Reads JSON files with landmarks for each frame."""

import hashlib
import re
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from services.extractor.importing.json_frames.conversion import to_raw
from services.extractor.importing.json_frames.layouts import JsonClip, find_clips
from services.extractor.importing.json_frames.values import JsonValue
from services.extractor.importing.mp_data.tree import FoundRecording, clip_ids, files_of_recordings, folders_of_frames
from services.extractor.importing.source import ImportOptions, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey, survey_path
from services.extractor.importing.unlabelled.corpus import make_source
from services.extractor.importing.unlabelled.raw import RawLandmarks, Recording
from services.extractor.importing.unlabelled.splits import split_named
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.wording import name_some
from signet.errors import ClipError, InvalidInput
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.text_files import decode_text, parse_json

_SUFFIX = ".json"
# Python needs about ten times as much memory for the numbers as the file has bytes.
_MOST_BYTES = 128 * 1024 * 1024
# Landmarks are kept in memory up to this size, so that most files are parsed once.
_KEPT_BYTES = 256 * 1024 * 1024
_HEAD_BYTES = 1024 * 1024
_KEYS = re.compile(
    rb'"(pose|left|right|lh|rh|body)[ _-]?(hand)?[ _-]?(landmarks|keypoints|keypoints_2d)?"\s*:|"hands"\s*:\s*\{',
    re.IGNORECASE,
)
_TRAILING_NUMBER = re.compile(r"[ _.\-]*\(?\d+\)?$")


class _RepeatedReader:
    """Parses files again for the clips that are not kept in memory. It can be called from any thread.

    The clips of a file are read one after the other, so the last file is kept. One file is parsed at a time, because a
    parsed file needs much memory.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._clips: list[JsonClip] = []
        self._sha256 = ""

    def read(self, path: Path, index: int, name: str) -> RawLandmarks:
        """The landmarks of a clip of a file."""
        with self._lock:
            if path != self._path:
                self._path, self._clips = None, []
                self._clips, self._sha256 = _parse(path)
                self._path = path
            clips, sha256 = self._clips, self._sha256
        if index >= len(clips):
            raise ClipError("changed", f"{name}: the file changed during the import.")
        return to_raw(clips[index], name, sha256)


@dataclass(eq=False)
class _Collected:
    """What the files hold."""

    recordings: list[Recording] = field(default_factory=list)
    frames: list[Path] = field(default_factory=list)  # files that hold one frame each
    failures: list[ClipFailure] = field(default_factory=list)
    kept_bytes: int = 0
    reader: _RepeatedReader = field(default_factory=_RepeatedReader)


def open_json(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open a JSON file or a tree of them.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: it has no recording that can be used.
    """
    survey = survey_path(path)
    folder = path if path.is_dir() else path.parent
    files = [file for file in survey.files if file.suffix.lower() == _SUFFIX or path.is_file()]
    if not files:
        raise InvalidInput(f"{path}: holds no .json file. Found: {survey.describe()}.")
    collected = _Collected()
    for found in files_of_recordings(path, files):
        _collect_clips(folder, found, collected)
    recordings, strays = folders_of_frames(path, collected.frames)
    notes = [f"{len(strays)} files with one frame belong to no recording: {name_some(strays)}"] if strays else []
    for found in recordings:
        read = partial(_read_frames, folder, found)
        collected.recordings.append(Recording(found.name, "", found.gloss, read, found.split))
    usable = _check_labels(collected)
    ids = clip_ids([(each.gloss, each.name) for each in usable])
    named = [replace(each, clip_id=clip_id) for clip_id, each in zip(ids, usable, strict=True)]
    return make_source("json", "json-frames", named, options, failures=collected.failures, notes=notes)


def _collect_clips(folder: Path, found: FoundRecording, collected: _Collected) -> None:
    """Add the clips of one file."""
    (file,) = found.files
    try:
        clips, sha256 = _parse(folder / file)
        if len(clips) == 1 and clips[0].is_frame:
            collected.frames.append(file)
            return
        for index, clip in enumerate(clips):
            name = f"{found.name}#{index}" if len(clips) > 1 else found.name
            raw = to_raw(clip, name, sha256)
            collected.kept_bytes += raw.pose.nbytes + raw.visibility.nbytes + raw.hands.nbytes
            kept = collected.kept_bytes <= _KEPT_BYTES
            read = partial(_return, raw) if kept else partial(collected.reader.read, folder / file, index, name)
            gloss = clip.sign or (found.gloss if file.parent.parts else _sign_of_file(file))
            split = split_named(clip.split) or found.split
            collected.recordings.append(Recording(name, "", gloss, read, split, clip.signer))
    except ClipError as error:
        collected.failures.append(ClipFailure(found.name, error.reason, str(error)))


def _sign_of_file(file: Path) -> str:
    """The name of a file without its number: `thank you_03.json` shows "thank you"."""
    return _TRAILING_NUMBER.sub("", file.stem) or file.stem


def _return(raw: RawLandmarks) -> RawLandmarks:
    return raw


def _read_frames(folder: Path, found: FoundRecording) -> RawLandmarks:
    """A recording whose frames are files of one folder."""
    digest = hashlib.sha256()
    clips: list[JsonClip] = []
    for file in found.files:
        parsed, sha256 = _parse(folder / file)
        digest.update(sha256.encode())
        clips.append(parsed[0])
    joined = replace(
        clips[0],
        frames=[clip.frames[0] for clip in clips],
        times=[clip.times[0] for clip in clips],
        is_frame=False,
    )
    raw = to_raw(joined, found.name, digest.hexdigest())
    return replace(raw, numbers=np.asarray(found.numbers, np.int64), faults=(*found.faults, *raw.faults))


def _check_labels(collected: _Collected) -> list[Recording]:
    """The recordings whose sign and signer can be stored, in the order of their names; the others become failures."""
    usable = []
    for each in sorted(collected.recordings, key=lambda recording: recording.name):
        fault = describe_gloss_fault(each.gloss) or describe_label_fault(each.signer) or describe_label_fault(each.name)
        if fault:
            name = ascii(each.name)[1:-1]
            message = f"{name}: its sign, signer or name cannot be used: {fault}."
            collected.failures.append(ClipFailure(name, "gloss", message))
        else:
            usable.append(each)
    return usable


def _parse(path: Path) -> tuple[list[JsonClip], str]:
    """The clips of a file, and the hash of the file.

    Raises:
        ClipError: it is no JSON file of landmarks.
    """
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ClipError(
                "large", f"{path.name}: has {size >> 20} MiB; at most {_MOST_BYTES >> 20} are read. Split the file."
            )
        data = path.read_bytes()
    except OSError as error:
        raise ClipError("unreadable", f"{path.name}: cannot be read ({error.strerror or error}).") from error
    if not data.strip():
        raise ClipError("empty", f"{path.name}: the file is empty. Copy it again.")
    try:
        root: JsonValue = parse_json(data, path.name)
        clips = find_clips(root, path.name)
    except ClipError:
        raise
    except InvalidInput as error:
        raise ClipError("damaged", str(error)) from error
    except RecursionError as error:
        raise ClipError("damaged", f"{path.name}: is nested too deeply.") from error
    return clips, hashlib.sha256(data).hexdigest()


def _matches(survey: PathSurvey) -> bool:
    """Whether a JSON sample names a pose or a hand."""
    for path in survey.samples.get("json", ()):
        try:
            with path.open("rb") as opened:
                if _KEYS.search(decode_text(opened.read(_HEAD_BYTES)).encode()):
                    return True
        except OSError:
            continue
    return False


KIND = Kind(
    name="json",
    layout='JSON files {"sign": ..., "frames": [{"pose": [[x, y, z], ...], "left_hand": ..., "right_hand": ...}]}',
    matches=_matches,
    open=open_json,
    options=frozenset({"fps", "aspect", "width", "height", "mirrored", "splits"}),
)
