"""Files whose names are those of copies: `a (1).mp4` of `a.mp4`, and augmented copies such as `a_flip.mp4`."""

import re
from collections.abc import Sequence
from pathlib import Path

from services.extractor.sources.clip_files import split_video_name
from services.extractor.sources.instances import Instance
from services.extractor.sources.wording import name_some

# foo(1), foo (2), foo - Copy, foo - Copy (2), foo copy 3.
_NUMBERED = re.compile(r"\s*\(\d+\)$")
_COPY = re.compile(r"[\s_-]+(copy|kopie|copie|copia|cópia)(\s*\d+)?$")
_COPY_OF = re.compile(r"^(copy of|kopie von|copie de|copia de)\s+")
# Words by which scripts for augmentation mark their output, at the start or the end of a name.
_CHANGE = (
    r"(aug(mented|mentation)?|h?flip(ped)?|vflip|mirror(ed)?|rot(ate|ated|ation)?|crop(ped)?|noise|noisy|"
    r"blur(red|ry)?|bright(er|ness|ened)?|dark(er|ened)?|contrast|zoom(ed)?|shift(ed)?|scaled?|shear(ed)?|speed|gamma|"
    r"jitter(ed)?|gr[ae]y(scale)?)"
)
_CHANGED_END = re.compile(rf"[\s_.-]+{_CHANGE}[\s_.-]*[-+]?\d*([.,]\d+)?[%x]?$")
_CHANGED_START = re.compile(rf"^{_CHANGE}[\s_-]*\d*([.,]\d+)?[\s_.-]+")


def group_copies(root: Path, clips: Sequence[tuple[Instance, Path]]) -> tuple[list[tuple[str, ...]], list[str]]:
    """Groups of clips of one gloss whose names are those of copies, by clip id; and notes for people.

    A number in brackets marks a copy if the file without it is in the same folder. Programs also number recordings
    like this. So if all clips of a gloss would be copies of one name, the numbers do not count, and a note says so.
    """
    by_gloss: dict[str, list[tuple[str, Path]]] = {}
    for clip, path in clips:
        by_gloss.setdefault(clip.gloss, []).append((clip.clip_id, path.relative_to(root)))
    groups: list[tuple[str, ...]] = []
    numbered = []
    for gloss, files in sorted(by_gloss.items()):
        found = _group(files, with_numbers=True)
        without = _group(files, with_numbers=False)
        if len(found) == 1 and len(without) > 1:
            numbered.append(gloss)
            found = without
        groups += [group for group in found if len(group) > 1]
    notes = []
    if numbered:
        notes.append(
            f"all files of {name_some(numbered)} differ only by a number in brackets. They count as separate "
            "recordings; delete those that are copies"
        )
    return groups, notes


def _group(files: Sequence[tuple[str, Path]], *, with_numbers: bool) -> list[tuple[str, ...]]:
    """All files, in groups of equal original names."""
    stems = {(path.parent, _stem(path)) for _, path in files}
    groups: dict[tuple[Path, str], list[str]] = {}
    for clip_id, path in files:
        name = original_name(_stem(path))
        base = _NUMBERED.sub("", name)
        if with_numbers and base and base != name and (path.parent, base) in stems:
            name = original_name(base)
        groups.setdefault((path.parent, name), []).append(clip_id)
    return [tuple(group) for group in groups.values()]


def original_name(stem: str) -> str:
    """The name of the file that a name says it is a copy of; the name itself if it is none of a copy."""
    name, before = stem.strip(), ""
    while name != before:
        before = name
        for marker in (_COPY, _COPY_OF, _CHANGED_END, _CHANGED_START):
            name = marker.sub("", name).strip() or name
        without_number = _NUMBERED.sub("", name)
        if without_number != name and _COPY.search(without_number):
            name = without_number
    return name


def _stem(path: Path) -> str:
    return split_video_name(path.name)[0].casefold()
