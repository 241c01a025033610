"""Reads the lists of WLASL's subsets, as its training code and the mirror on Kaggle have them.

`nslt_100.json` (300, 1000, 2000) has the class and the frames of each video: {"05237": {"subset": "train", "action":
[77, 1, 55]}}. `wlasl_class_list.txt` has the gloss of each class: number, tab, gloss. `missing.txt` lists the videos
that the mirror lacks. Signers, boxes and addresses are only in `WLASL_v0.3.json`; they are added if it is there.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.extractor.sources.instances import SPLIT_NAMES, TO_THE_END, WLASL_FPS, Instance, InstanceList
from services.extractor.sources.metadata import METADATA, parse_metadata
from services.extractor.sources.wording import count, name_some
from signet.errors import InvalidInput, NotFound
from signet.labels import describe_gloss_fault
from signet.store import keys
from signet.text_files import decode_text, parse_json

CLASS_LIST, MISSING_LIST = "wlasl_class_list.txt", "missing.txt"
_NAME = re.compile(r"nslt_(\d+)\.json", re.IGNORECASE)
_ACTION_NUMBERS = 3


def find_class_lists(folder: Path) -> list[Path]:
    """The lists of subsets in a folder, the largest first: it contains the others."""
    found = [(int(name[1]), path) for path in folder.glob("*.json") if (name := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda each: -each[0])]


def is_class_list(root: Any) -> bool:
    """Whether parsed JSON has the layout of nslt_100.json."""
    return isinstance(root, dict) and any(isinstance(item, dict) and "action" in item for item in root.values())


def read_class_list(path: Path) -> tuple[InstanceList, tuple[Path, ...]]:
    """Read a list of a subset.

    Returns:
        The instances, and all files that were read.

    Raises:
        NotFound: there is no list of the classes' glosses beside it.
        InvalidInput: a file has another layout, or no video can be used.
    """
    root = parse_json(path.read_bytes(), str(path))
    if not is_class_list(root):
        raise InvalidInput(
            f'{path}: has an unknown layout. Expected is {{"05237": {{"subset": "train", "action": [77, 1, 55]}}}}.'
        )
    glosses = _read_glosses(path.parent / CLASS_LIST)
    metadata = path.parent / METADATA
    known = {}
    if metadata.is_file():
        known = {found.clip_id: found for found in parse_metadata(metadata.read_bytes(), str(metadata)).instances}
    instances, notes = [], []
    left_out: dict[str, list[str]] = {}
    for video_id, entry in root.items():
        instance = _read_entry(str(video_id).strip(), entry, glosses)
        if isinstance(instance, str):
            left_out.setdefault(instance, []).append(str(video_id)[:40])
            continue
        if found := known.get(instance.clip_id):
            instance = replace(instance, signer=found.signer, source=found.source, box=found.box, url=found.url)
        instances.append(instance)
    notes += [
        f"{path}: {count(ids, 'video')} left out, because {why}: {name_some(ids)}" for why, ids in left_out.items()
    ]
    if not instances:
        raise InvalidInput(f"{path}: lists no video that can be used.{''.join(f' ({note}.)' for note in notes)}")
    if not known:
        notes.append(f"{path}: has no signers, so no report can tell new signers from known ones. {METADATA} has them")
    used = [path, path.parent / CLASS_LIST, *([metadata] if known else [])]
    return InstanceList(tuple(instances), tuple(notes)), tuple(used)


def notes_of_missing_list(folder: Path, instances: InstanceList, present: Mapping[str, Path]) -> list[str]:
    """Remarks if the files that are absent are not those of `missing.txt`: then the copy may be incomplete."""
    try:
        listed = set(decode_text((folder / MISSING_LIST).read_bytes()).split())
    except OSError:
        return []
    absent = sorted(found.clip_id for found in instances.instances if found.clip_id not in present)
    unlisted = [clip_id for clip_id in absent if clip_id not in listed]
    if not unlisted:
        return []
    return [
        f"{count(unlisted, 'clip')} without a file, although {MISSING_LIST} does not list them "
        f"({name_some(unlisted)}). The copy of the videos may be incomplete"
    ]


def _read_glosses(path: Path) -> dict[int, str]:
    try:
        text = decode_text(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(
            f"{path}: no such file. It has the glosses of the classes (number, tab, gloss). Put it there, or give "
            f"{METADATA}, which lists the same videos with their glosses."
        ) from error
    glosses = {}
    for line in text.splitlines():
        number, _, gloss = line.strip().replace("\t", " ").partition(" ")
        if number.isdecimal() and gloss.strip():
            glosses[int(number)] = gloss.strip()
    if not glosses:
        raise InvalidInput(f"{path}: has no line with a number, a tab and a gloss. Download it again.")
    return glosses


def _read_entry(video_id: str, entry: Any, glosses: Mapping[int, str]) -> Instance | str:
    """The instance of a video, or the reason why there is none."""
    if not keys.is_name(video_id):
        return "the id is not 1 to 128 letters, digits, dots, dashes and underscores"
    action = entry.get("action") if isinstance(entry, dict) else None
    if not isinstance(action, list) or len(action) != _ACTION_NUMBERS or not all(type(each) is int for each in action):
        return "action is not [class, first frame, last frame]"
    number, first, last = action
    gloss = glosses.get(number, "")
    if not gloss:
        return f"{CLASS_LIST} has no such class"
    if fault := describe_gloss_fault(gloss):
        return f"its gloss cannot be used ({fault})"
    split = SPLIT_NAMES.get(str(entry.get("subset", "")).strip().casefold(), "")
    return Instance(video_id, gloss, split, "", max(1, first), last if last > 0 else TO_THE_END, fps=WLASL_FPS)
