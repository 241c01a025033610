"""Finds the clips of a folder with pickles of OpenHands, and their labels.

The labels are those of WLASL's metadata if the names of the files are its ids: OpenHands' data set of WLASL is so.
Otherwise the folders are the signs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.extractor.importing.mp_data.tree import check_names, clip_ids, files_of_recordings
from services.extractor.importing.openhands.clip_file import read_clip_file
from services.extractor.importing.source import FrameSize, ImportOptions, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey, survey_path
from services.extractor.importing.unlabelled.corpus import make_source
from services.extractor.importing.unlabelled.raw import RawLandmarks, Recording
from services.extractor.sources.failure import ClipFailure
from services.extractor.sources.instances import Instance
from services.extractor.sources.metadata import METADATA
from services.extractor.sources.video_formats import frame_rate, video_format
from services.extractor.sources.wlasl import read_metadata
from signet.errors import InvalidInput, NotFound
from signet.text_files import KnownIds

_SUFFIXES = (".pkl", ".pickle")
# Metadata label the files if they list at least this share of them.
_SHARE_OF_METADATA = 0.5


def open_openhands(path: Path, options: ImportOptions) -> LandmarkSource:
    """Open a file or a folder of files.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: it has no file that can be used.
    """
    survey = survey_path(path)
    root = path if path.is_dir() else path.parent
    files = [file for file in survey.files if file.suffix.lower() in _SUFFIXES]
    if not files:
        raise InvalidInput(f"{path}: holds no pickle ({', '.join(_SUFFIXES)}). Found: {survey.describe()}.")
    metadata = _find_metadata(root, options, files)
    if metadata is not None:
        recordings, failures, notes = _label_by_metadata(root, files, metadata)
    else:
        recordings, failures = _label_by_folder(path, root, files)
        notes = []
    return make_source("openhands", "openhands", recordings, options, failures=failures, notes=notes)


def _find_metadata(root: Path, options: ImportOptions, files: Sequence[Path]) -> Mapping[str, Instance] | None:
    """The instances of WLASL's metadata by id, if they list the files; None if there are none."""
    for place in (root / METADATA, root.parent / METADATA, options.wlasl):
        try:
            metadata = read_metadata(place)
        except (NotFound, InvalidInput):
            continue
        by_id = {instance.clip_id: instance for instance in metadata.instances}
        ids = KnownIds(by_id)
        if sum(ids.find(file.stem) is not None for file in files) >= _SHARE_OF_METADATA * len(files):
            return by_id
    return None


def _label_by_metadata(
    root: Path, files: Sequence[Path], metadata: Mapping[str, Instance]
) -> tuple[list[Recording], list[ClipFailure], list[str]]:
    ids = KnownIds(metadata)
    recordings: dict[str, Recording] = {}
    failures = []
    for file in files:
        known = ids.find(file.stem)
        if known is None:
            name = ascii(str(file))[1:-1]
            failures.append(ClipFailure(name, "unknown", f"{name}: is not in the metadata, so its sign is unknown."))
        elif known in recordings:
            message = f"{file}: is the same clip as {recordings[known].name}."
            failures.append(ClipFailure(str(file), "index", message))
        else:
            instance = metadata[known]
            read = partial(_read_instance, root / file, instance)
            name = str(file.with_suffix(""))
            recordings[known] = Recording(name, known, instance.gloss, read, instance.split, instance.signer)
    notes = [
        "labels are those of WLASL's metadata. So are frame rate and picture size where the files do not say them: the "
        "usual ones of each clip's publisher"
    ]
    return list(recordings.values()), failures, notes


def _read_instance(path: Path, instance: Instance) -> RawLandmarks:
    """The landmarks of a clip of WLASL; what its file does not say is usual for its publisher."""
    raw = read_clip_file(path)
    usual = video_format(instance.source, instance.box)
    return replace(
        raw,
        fps=raw.fps or frame_rate(instance.source, instance.signer),
        size=raw.size or FrameSize(usual.width, usual.height),
    )


def _label_by_folder(path: Path, root: Path, files: Sequence[Path]) -> tuple[list[Recording], list[ClipFailure]]:
    found, failures = check_names(sorted(files_of_recordings(path, files), key=lambda each: each.name))
    recordings = [
        Recording(each.name, clip_id, each.gloss, partial(read_clip_file, root / each.files[0]), each.split)
        for each, clip_id in zip(found, clip_ids([(each.gloss, each.name) for each in found]), strict=True)
    ]
    return recordings, failures


def _matches(survey: PathSurvey) -> bool:
    return survey.has("pickle") or any(file.suffix.lower() in _SUFFIXES for file in survey.files)


KIND = Kind(
    name="openhands",
    layout="files <sign>/<name>.pkl of OpenHands, or <video_id>.pkl with WLASL's metadata (--wlasl)",
    matches=_matches,
    open=open_openhands,
    options=frozenset({"wlasl", "fps", "aspect", "width", "height", "mirrored", "splits"}),
)
