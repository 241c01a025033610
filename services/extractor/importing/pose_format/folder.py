"""Finds the clips of a folder with `.pose` files, and their labels."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.extractor.importing.mp_data.tree import check_names, clip_ids, files_of_recordings
from services.extractor.importing.pose_format.reader import read_pose_file
from services.extractor.importing.source import FrameSize, ImportOptions, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey, survey_path
from services.extractor.importing.unlabelled.corpus import make_source
from services.extractor.importing.unlabelled.raw import RawLandmarks, Recording
from signet.errors import ClipError, InvalidInput
from signet.store import keys

_SUFFIX = ".pose"
# `signet export` writes this table beside the files.
LABELS = "clips.csv"
# Files that are looked at for notes about all of them.
_SAMPLES = 20


def open_pose_files(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open a file or a folder of files.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: it has no file that can be used.
    """
    survey = survey_path(path)
    root = path if path.is_dir() else path.parent
    files = [file for file in survey.files if file.suffix.lower() == _SUFFIX]
    if not files:
        raise InvalidInput(f"{path}: holds no {_SUFFIX} file. Found: {survey.describe()}.")
    found, failures = check_names(sorted(files_of_recordings(path, files), key=lambda each: each.name))
    ids = clip_ids([(each.gloss, each.name) for each in found])
    if options.splits is None and (root / LABELS).is_file():
        options = replace(options, splits=root / LABELS)
        stems = [Path(each.name).name for each in found]
        # `signet export` names each file after its clip.
        ids = stems if len(set(stems)) == len(stems) and all(map(keys.is_name, stems)) else ids
    size = options.frame_size()
    recordings = [
        Recording(each.name, clip_id, each.gloss, partial(_read, root / each.files[0], size), each.split)
        for each, clip_id in zip(found, ids, strict=True)
    ]
    notes = [*_describe_labels(recordings, options), *_describe_files([root / each.files[0] for each in found], size)]
    options = replace(options, width=None, height=None)  # for files that say no size; the reader has used them
    return make_source("pose", "pose", recordings, options, failures=failures, notes=notes)


def _read(path: Path, size: FrameSize | None) -> RawLandmarks:
    return read_pose_file(path, size)[0]


def _describe_labels(recordings: list[Recording], options: ImportOptions) -> list[str]:
    glosses = Counter(recording.gloss for recording in recordings)
    if len(glosses) != 1 or len(recordings) < 2 or options.splits is not None:
        return []
    return [
        f"labels: all {len(recordings)} files are in one folder, so each shows the sign {next(iter(glosses))!r}. Put "
        "the files of each sign into a folder of its name, or name a CSV file with --splits"
    ]


def _describe_files(files: list[Path], size: FrameSize | None) -> list[str]:
    """What had to be estimated in a sample of the files."""
    counts: Counter[str] = Counter()
    samples = files[:: max(1, len(files) // _SAMPLES)]
    for file in samples:
        try:
            counts.update(read_pose_file(file, size)[1])
        except ClipError:
            continue  # `make_source` reads it again, and reports it
    return [f"{remark} ({count} of {len(samples)} files that were looked at)" for remark, count in counts.items()]


def _matches(survey: PathSurvey) -> bool:
    return survey.has("pose") or any(file.suffix.lower() == _SUFFIX for file in survey.files)


KIND = Kind(
    name="pose",
    layout="files <sign>/<name>.pose of the package pose-format (version 0.1 or 0.2, MediaPipe or OpenPose)",
    matches=_matches,
    open=open_pose_files,
    options=frozenset({"fps", "width", "height", "mirrored", "splits"}),
)
