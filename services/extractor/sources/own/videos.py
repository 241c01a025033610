"""Reads own videos as a corpus: from folders of glosses, or from tables of clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import Instance
from services.extractor.sources.own.clip_ids import make_clip_id
from services.extractor.sources.own.clip_table import COLUMNS, TABLE_NAMES, ClipRow, read_clip_tables
from services.extractor.sources.own.folder_labels import LAYOUT, FolderLabel, FolderLabels, clean_gloss
from services.extractor.sources.own.listing import FolderContent, VideoFile, list_folder
from services.extractor.sources.own.matching import VideoFinder, normalise_path
from services.extractor.sources.wording import count, name_some
from signet.errors import InvalidInput, NotFound
from signet.labels import describe_gloss_fault

TITLE = "the folder of videos"


def read_own_videos(root: Path, videos: Path | None = None, tables: Sequence[Path] = ()) -> VideoCorpus:
    """Read own videos.

    Args:
        root: the folder.
        videos: the folder of the videos, if it is another one.
        tables: CSV files that list the clips; by default, one of `TABLE_NAMES` in the folder, if there is one.

    Raises:
        NotFound: there is no video, or a table does not exist.
        InvalidInput: the glosses of the videos are unclear, or a table cannot be used.
    """
    folder = videos or root
    content = list_folder(folder)
    notes = _notes_of_other_files(content)
    if not content.videos:
        raise NotFound(f"{folder}: has no video. {LAYOUT}{''.join(f' ({note}.)' for note in notes)}")
    tables = tuple(tables) or tuple(root / name for name in TABLE_NAMES if (root / name).is_file())[:1]
    clips = _clips_of_tables(folder, content, tables) if tables else _clips_of_folders(folder, content)
    if not clips.instances:
        reasons = "".join(f" ({note}.)" for note in clips.notes)
        raise InvalidInput(
            f"{', '.join(map(str, tables)) or folder}: no clip can be used.{reasons} {LAYOUT} A table has the columns "
            f"{', '.join(COLUMNS)}."
        )
    glosses = {instance.gloss for instance in clips.instances}
    if len(glosses) == 1:
        notes.append(f"all videos show one gloss ({glosses.pop()}). A training needs two glosses or more")
    return VideoCorpus(
        instances=tuple(clips.instances),
        folder=folder,
        files=clips.files,
        metadata=tables,
        names=frozenset(str(video.relative) for video in content.videos),
        notes=(*clips.notes, *notes),
        title=TITLE,
        naming="<gloss>/<any name>.mp4",
        default_name="videos",
        default_max_glosses=0,
        has_splits=clips.has_splits,
        cuts_long_videos=True,
    )


@dataclass
class _Clips:
    """The clips that were found: instances, their files by clip id, and notes."""

    has_splits: bool
    instances: list[Instance] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _clips_of_folders(root: Path, content: FolderContent) -> _Clips:
    labels = FolderLabels(root, content)
    clips = _Clips(labels.has_splits, notes=labels.notes())
    nested, unlabelled = [], []
    for video in content.videos:
        label = labels.find(video)
        if label is None:
            unlabelled.append(str(video.relative))
        elif not label.fault:
            if labels.is_nested(video):
                nested.append(str(video.relative))
            clip_id = make_clip_id(video.relative)
            if clip_id in clips.files:  # the same name in another Unicode form
                clip_id = make_clip_id(video.relative, str(video.path.relative_to(root)))
            clips.instances.append(Instance(clip_id, label.gloss, label.split, ""))
            clips.files[clip_id] = video.path
    if nested:
        clips.notes.append(f"{count(nested, 'video')} in a folder below the folder of their gloss: {name_some(nested)}")
    if unlabelled:
        clips.notes.append(
            f"{count(unlabelled, 'video')} not taken, because they are in no folder of a gloss, which holds videos "
            f"itself: {name_some(unlabelled)}"
        )
    return clips


def _clips_of_tables(root: Path, content: FolderContent, tables: Sequence[Path]) -> _Clips:
    table = read_clip_tables(tables)
    finder = VideoFinder(content.videos)
    clips = _Clips(table.has_splits, notes=table.notes)
    labels = _labels_if_clear(root, content)
    left_out: dict[str, list[str]] = {}
    listed: set[Path] = set()
    rows: dict[str, list[Instance]] = {}
    for row in table.rows:
        found = finder.find(row.file)
        video = found[0] if found else None
        label = labels.find(video) if labels and video else None
        gloss = clean_gloss(row.gloss or (label.gloss if label else ""))
        if reason := _fault_of_row(found, gloss):
            left_out.setdefault(reason, []).append(f"{row.file} ({row.place})")
            continue
        instance = _make_instance(row, video, gloss, label)
        rows.setdefault(instance.clip_id, []).append(instance)
        if video:
            clips.files[instance.clip_id] = video.path
            listed.add(video.path)
    contradictory = [clip_id for clip_id, instances in rows.items() if len(set(instances)) > 1]
    clips.instances = [instances[0] for instances in rows.values() if len(set(instances)) == 1]
    clips.notes += [
        f"{count(names, 'row')} left out, because {why}: {name_some(names)}" for why, names in left_out.items()
    ]
    if contradictory:
        clips.notes.append(
            f"{count(contradictory, 'clip')} left out, because rows contradict each other: {name_some(contradictory)}"
        )
    unlisted = [str(video.relative) for video in content.videos if video.path not in listed]
    if unlisted:
        clips.notes.append(f"{count(unlisted, 'video')} not taken, because no row names them: {name_some(unlisted)}")
    without = [instance.clip_id for instance in clips.instances if not instance.split]
    if table.has_splits and without:
        clips.notes.append(f"{count(without, 'clip')} without a split, so not trained on: {name_some(without)}")
    return clips


def _labels_if_clear(root: Path, content: FolderContent) -> FolderLabels | None:
    """The labels of the folders, for rows without a gloss; None if the folders are not those of glosses."""
    try:
        return FolderLabels(root, content)
    except InvalidInput:
        return None


def _fault_of_row(found: Sequence[VideoFile], gloss: str) -> str:
    """Why a row cannot be used; "" if it can. A row whose video is missing can be used: it is counted as missing."""
    if len(found) > 1:
        return "several videos have this name, so add their folders"
    if not gloss:
        return "it has no gloss, and its folder is none of a gloss"
    if fault := describe_gloss_fault(gloss):
        return f"its gloss cannot be used ({fault})"
    return ""


def _make_instance(row: ClipRow, video: VideoFile | None, gloss: str, label: FolderLabel | None) -> Instance:
    relative = video.relative if video else PurePosixPath(normalise_path(row.file))
    return row.make_instance(make_clip_id(relative, row.part), gloss, row.split or (label.split if label else ""))


def _notes_of_other_files(content: FolderContent) -> list[str]:
    """What is said about files and folders that are not taken."""
    described = (
        (content.convertible, "video", "of a format that is not read. Convert to MP4, for example with ffmpeg"),
        (content.others, "file", "that is no video, not read"),
        (content.broken_links, "link", "that leads nowhere or in a circle, not followed"),
        (content.unreadable, "folder", "that cannot be read or is too deep, not searched"),
        (content.empty, "folder", "that is empty"),
    )
    return [f"{count(paths, noun)} {what}: {name_some(paths)}" for paths, noun, what in described if paths]
