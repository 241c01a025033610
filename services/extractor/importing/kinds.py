"""Detects the kind of landmark files at a path, and opens them with the reader of that kind."""

from dataclasses import fields
from pathlib import Path

from services.extractor.importing import json_frames, mp_data, openhands, parquet, pose_format, wlasl_archive
from services.extractor.importing.source import ImportOptions, LandmarkSource
from services.extractor.importing.survey import Kind, PathSurvey, survey_path
from signet.errors import InvalidInput, quote

# All kinds, by the value of `--kind`. A new reader adds its `KIND` here.
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        wlasl_archive.KIND,
        mp_data.KIND,
        json_frames.KIND,
        pose_format.KIND,
        parquet.KIND,
        openhands.KIND,
    )
}


def open_source(path: Path, options: ImportOptions, kind: str = "") -> LandmarkSource:
    """Open landmark files.

    Args:
        path: a file or a folder.
        options: what the user says about the files.
        kind: the kind of the files, a key of `KINDS`; "" detects it by content.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: the kind is unknown, an option does not apply to it, or the files cannot be used.
    """
    if kind:
        if kind not in KINDS:
            raise InvalidInput(f"--kind {quote(kind)} does not exist. The kinds are {', '.join(KINDS)}.")
        chosen = KINDS[kind]
    else:
        chosen = _detect(survey_path(path))
    _check_options(chosen, options)
    return chosen.open(path, options)


def _detect(survey: PathSurvey) -> Kind:
    matching = [kind for kind in KINDS.values() if kind.matches(survey)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise InvalidInput(
            f"{survey.root}: holds files of several kinds: {', '.join(kind.name for kind in matching)}. Import each "
            "folder by itself, or choose one kind with --kind."
        )
    known = "; ".join(f"{kind.name}: {kind.layout}" for kind in KINDS.values())
    advice = " Videos are extracted with `signet extract`." if survey.has("video") else ""
    raise InvalidInput(
        f"{survey.root}: no landmarks of a known kind. Found: {survey.describe()}.{advice} What can be "
        f"imported: {known}."
    )


def _check_options(kind: Kind, options: ImportOptions) -> None:
    """Refuse options that the reader of this kind does not use, because they would have no effect."""
    usable = kind.options | {"wlasl"}  # an environment variable may set it for other commands
    default = ImportOptions()
    for entry in fields(ImportOptions):
        if getattr(options, entry.name) != getattr(default, entry.name) and entry.name not in usable:
            raise InvalidInput(
                f"--{entry.name.replace('_', '-')} does not apply to files of the kind {kind.name}. Leave it out."
            )
