"""Finds the recordings of a tree of files: folders of numbered frames, or files of whole recordings."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from services.extractor.importing.unlabelled.splits import split_named
from services.extractor.sources.failure import ClipFailure
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.store import keys

_TRAILING_NUMBER = re.compile(r"(\d+)(?!.*\d)")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Numbers that are this many times as many as the frames are times or addresses, not numbers of frames.
_MOST_SPARSE = 4
# The longest part of a clip id that comes from names; a hash follows where names are longer or not ASCII.
_MOST_SLUG = 100
_HASH_DIGITS = 8


@dataclass(frozen=True)
class FoundRecording:
    """A recording in a tree.

    Attributes:
        name: its path relative to the root, without the suffix.
        gloss: the sign, from the names of the folders.
        files: its files in the order of the frames, relative to the root.
        numbers: the number of each frame, increasing.
        split: the split that the name of its uppermost folder says; "" if it says none.
        faults: what is unusual about the names.
        is_file: whether all frames are in one file.
    """

    name: str
    gloss: str
    files: tuple[Path, ...]
    numbers: tuple[int, ...]
    split: str = ""
    faults: tuple[str, ...] = ()
    is_file: bool = False


def folders_of_frames(root: Path, files: Iterable[Path]) -> tuple[list[FoundRecording], list[Path]]:
    """The recordings whose frames are files of one folder, and the files that belong to no recording.

    A folder with files is a recording, unless there are recordings below it: then its files are strays.

    Args:
        root: the path that the user names.
        files: files relative to it.
    """
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, []).append(file)
    inner = {parent for folder in by_folder for parent in folder.parents}
    strays = [file for folder, own in by_folder.items() if folder in inner for file in own]
    folders = {folder: own for folder, own in by_folder.items() if folder not in inner}
    places = _locate(root, {folder: folder.parts for folder in folders})
    found = []
    for folder, own in folders.items():
        ordered, numbers, faults = _order_frames(own)
        gloss, split = places[folder]
        found.append(FoundRecording(_display_name(root, folder), gloss, ordered, numbers, split, faults))
    return found, strays


def files_of_recordings(root: Path, files: Sequence[Path]) -> list[FoundRecording]:
    """One recording for each file, relative to the root."""
    places = _locate(root, {file: (*file.parent.parts, file.stem) for file in files})
    return [
        FoundRecording(str(file.with_suffix("")), places[file][0], (file,), (0,), places[file][1], is_file=True)
        for file in files
    ]


def check_names(found: Sequence[FoundRecording]) -> tuple[list[FoundRecording], list[ClipFailure]]:
    """The recordings whose paths can name a sign and a clip, and the failures of the others."""
    usable, failures = [], []
    for each in found:
        if fault := describe_gloss_fault(each.gloss) or describe_label_fault(each.name):
            name = ascii(each.name)[1:-1]
            failures.append(ClipFailure(name, "gloss", f"{name}: this path cannot name a sign or a clip: {fault}."))
        else:
            usable.append(each)
    return usable, failures


def clip_ids(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names for the store: the sign and the last part of the path, with a hash where they would not be unique.

    Args:
        names: gloss and name of each recording; the names are different.
    """
    slugs = []
    for gloss, name in names:
        text = f"{gloss}-{PurePath(name).name}"
        slug = _UNSAFE.sub("-", text).strip("-._")[:_MOST_SLUG]
        changed = not text.isascii() or len(text) > _MOST_SLUG or not keys.is_name(slug) or ".." in slug
        slugs.append((slug.replace("..", "-") or "clip", changed))
    counts = Counter(slug.lower() for slug, _ in slugs)
    return [
        f"{slug}-{hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]}"
        if changed or counts[slug.lower()] > 1
        else slug
        for (slug, changed), (_, name) in zip(slugs, names, strict=True)
    ]


def _display_name(root: Path, folder: Path) -> str:
    return str(folder) if folder.parts else root.resolve().name


def _locate(root: Path, paths: dict[Path, tuple[str, ...]]) -> dict[Path, tuple[str, str]]:
    """Gloss and split of each recording, from the parts of its path; the last part is the recording itself.

    An uppermost folder that all recordings share is left out, if there are several folders below it. If all uppermost
    folders are named after splits, they are splits. The remaining folders are the gloss: `i/me` is the sign "i/me".
    """
    above = {path: parts[:-1] for path, parts in paths.items()}
    while len({parts[0] if parts else "" for parts in above.values()}) == 1:
        below = {parts[1] if len(parts) > 1 else "" for parts in above.values()}
        if len(below) < 2 or "" in below:
            break
        above = {path: parts[1:] for path, parts in above.items()}
    splits = dict.fromkeys(above, "")
    if above and all(len(parts) > 1 and split_named(parts[0]) for parts in above.values()):
        splits = {path: split_named(parts[0]) for path, parts in above.items()}
        above = {path: parts[1:] for path, parts in above.items()}
    resolved = root.resolve()
    folder = resolved if resolved.is_dir() else resolved.parent
    # The root itself is a recording, or holds the recordings of one sign.
    alone = {path: folder.parent.name if not path.parts else folder.name for path in paths}
    return {path: ("/".join(parts) or alone[path] or "unknown", splits[path]) for path, parts in above.items()}


def _order_frames(files: Sequence[Path]) -> tuple[tuple[Path, ...], tuple[int, ...], tuple[str, ...]]:
    """Files in the order of their numbers, the numbers, and what is unusual about them."""
    numbered = []
    for file in files:
        match = _TRAILING_NUMBER.search(file.stem)
        numbered.append((int(match[1][:18]) if match else -1, file.name, file))
    numbered.sort()
    ordered = tuple(file for _, _, file in numbered)
    numbers = [number for number, _, _ in numbered]
    count = len(numbers)
    consecutive = tuple(range(count))
    if numbers[0] < 0 or len(set(numbers)) < count:
        return ordered, consecutive, ("names of frames have no different numbers: they are ordered by number and name",)
    span = numbers[-1] - numbers[0] + 1
    if span > _MOST_SPARSE * count:
        return ordered, consecutive, ("numbers of frames are far apart: they are taken as an order only",)
    faults = (f"{span - count} frames are missing between {numbers[0]} and {numbers[-1]}",) if span > count else ()
    return ordered, tuple(number - numbers[0] for number in numbers), faults
