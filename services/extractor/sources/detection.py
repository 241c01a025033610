"""Finds out what kind of corpus lies at a path, and reads it.

The rules, in this order: a folder with `WLASL_v0.3.json` is WLASL, also if lists of its subsets are beside it; one with
`MSASL_train.json`, `MSASL_val.json` or `MSASL_test.json` is MS-ASL; one with `nslt_2000.json` (or 1000, 300, 100) is
the mirror of WLASL, and the largest list is taken; any other folder holds own videos. A JSON file is read by its
content, and a CSV file is the table of the videos in its folder.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from services.extractor.sources.class_lists import (
    find_class_lists,
    is_class_list,
    notes_of_missing_list,
    read_class_list,
)
from services.extractor.sources.clip_files import split_video_name
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.metadata import METADATA
from services.extractor.sources.msasl import LISTS, find_msasl_lists, is_msasl_list, read_msasl
from services.extractor.sources.own.videos import read_own_videos
from services.extractor.sources.wlasl import join_clips, read_wlasl, readable
from signet.errors import InvalidInput, NotFound
from signet.text_files import parse_json

_TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".txt"})


def read_corpus(path: Path, clips: Path | None = None, tables: Sequence[Path] = ()) -> VideoCorpus:
    """Read the corpus at a path.

    Args:
        path: a folder, a JSON file of WLASL, of its mirror or of MS-ASL, or a table of own videos.
        clips: the folder of the videos, if it is not the usual one.
        tables: tables of own videos.

    Raises:
        NotFound: the path, or any video, does not exist.
        InvalidInput: it is unclear what the path is, or its files cannot be used.
    """
    with readable(path):
        if clips is not None and not clips.is_dir():
            raise NotFound(f"{clips}: no such directory. Name the one that holds the videos.")
        if path.is_dir():
            return _read_folder(path, clips, tables)
        if not path.exists():
            raise NotFound(
                f"{path}: no such file or folder. Name a folder of videos (<gloss>/*.mp4), or one with {METADATA}, "
                f"nslt_*.json or {next(iter(LISTS))}."
            )
        return _read_file(path, clips, tables)


def _read_folder(folder: Path, clips: Path | None, tables: Sequence[Path]) -> VideoCorpus:
    lists, subsets = find_msasl_lists(folder), find_class_lists(folder)
    if tables:
        return read_own_videos(folder, clips, tables)
    if (folder / METADATA).is_file():
        corpus = read_wlasl(folder, clips)
        if not subsets:
            return corpus
        names = ", ".join(path.name for path in subsets)
        note = f"{METADATA} is read, because it has the signers. To extract only a subset, name its list: {names}"
        return replace(corpus, notes=(*corpus.notes, note))
    if lists:
        return read_msasl(lists, clips)
    if subsets:
        return _read_class_list(subsets[0], clips)
    return read_own_videos(folder, clips)


def _read_file(path: Path, clips: Path | None, tables: Sequence[Path]) -> VideoCorpus:
    if path.suffix.lower() in _TABLE_SUFFIXES:
        return read_own_videos(path.parent, clips, [path, *tables])
    if split_video_name(path.name)[1]:
        raise InvalidInput(
            f"{path}: is a single video. Name a folder of videos (<gloss>/*.mp4). `signet predict` takes single videos."
        )
    root = parse_json(path.read_bytes(), str(path))
    if is_class_list(root):
        return _read_class_list(path, clips)
    if is_msasl_list(root):
        return read_msasl([path], clips)
    return read_wlasl(path, clips)


def _read_class_list(path: Path, clips: Path | None) -> VideoCorpus:
    content, metadata = read_class_list(path)
    corpus = join_clips(content, metadata, clips)
    notes = notes_of_missing_list(path.parent, content, corpus.files)
    return replace(corpus, notes=(*corpus.notes, *notes))
