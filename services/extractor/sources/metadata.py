"""Reads the metadata of WLASL: a JSON list of glosses, and the instances of each.

Each instance is judged by itself. A field whose value cannot be used is unknown, an instance that cannot be used is
left out, and notes say which and why. Nothing else is lost.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from services.extractor.sources.instances import (
    NO_BOX,
    SPLIT_NAMES,
    TO_THE_END,
    WLASL_FPS,
    Instance,
    InstanceList,
)
from signet.errors import InvalidInput, quote
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.store import keys
from signet.text_files import REPLACEMENT, parse_json, parse_number

METADATA = "WLASL_v0.3.json"

# Rates over this value are not those of a video.
_MOST_FPS = 1000.0
# What people and programs write for a signer that they do not know.
_NO_SIGNER = {"", "-1", "nan", "none", "null", "n/a", "na", "unknown", "?"}
# The gloss is part of the header of a landmark tensor, which has 4,096 bytes. Other characters than ASCII take 7 bytes.
_MOST_GLOSS_BYTES = 2500
# The number of instances that a note names.
_MOST_NAMED = 20
# The number of characters of a value in a message.
_MOST_SHOWN = 40
_LAYOUT = (
    f"Signet reads the layout of {METADATA}: a list of glosses, each "
    '{"gloss": "book", "instances": [{"video_id": "69241", "split": "train", "signer_id": 118, ...}]}'
)


def parse_metadata(data: bytes, name: str) -> InstanceList:
    """Parse the metadata.

    Args:
        data: the bytes of the file.
        name: the name of the file in messages.

    Raises:
        InvalidInput: the file has another layout, or no instance can be used.
    """
    root = parse_json(data, name)
    _check_layout(root, name)
    reader = _InstanceReader()
    instances = _without_repeated_ids([*reader.read_all(root)], reader)
    notes = tuple(f"{name}: {note}" for note in reader.notes())
    if not instances:
        reason = notes[-1] if notes else f"{name}: it lists no instance"
        raise InvalidInput(f"{reason}. No instance can be used. {_LAYOUT}.")
    return InstanceList(tuple(instances), notes)


def _check_layout(root: Any, name: str) -> None:
    """Refuse a file of another layout, and name the layout if it is a known one.

    Raises:
        InvalidInput: the file does not list glosses and their instances.
    """
    items = list(root.values()) if isinstance(root, dict) else root if isinstance(root, list) else [root]
    fields: set[str] = set().union(*(item for item in items if isinstance(item, dict)))
    if isinstance(root, list) and (not root or fields & {"gloss", "instances"}):
        return
    if isinstance(root, list) and fields & {"clean_text", "org_text", "start_time"}:
        found = (
            "has the layout of MS-ASL (MSASL_train.json: a list of clips with text, url and start_time), which cannot "
            "be read. Make an entry of each gloss (clean_text), and an instance of each clip: a video_id that names "
            "its file, its split, signer_id and fps, its start + 1 as frame_start and its end as frame_end"
        )
    elif isinstance(root, dict) and fields & {"subset", "action"}:
        found = (
            "has the layout of nslt_100.json (class number and frames of each video_id), which has no glosses. Give "
            f"{METADATA}, which lists the same clips. Its first 100 glosses are those of nslt_100.json"
        )
    elif items and all(isinstance(item, str) for item in items):
        found = "is a list of names, such as MSASL_classes.json, and lists no clips"
    else:
        found = "has an unknown layout"
    raise InvalidInput(f"{name}: {found}. {_LAYOUT}.")


class _UnusableInstance(Exception):
    """An instance cannot be used. `value` is what it has, and the message is the reason, without the value."""

    def __init__(self, reason: str, value: Any) -> None:
        super().__init__(reason)
        self.value = value


class _InstanceReader:
    """Reads instances, and remembers what could not be used."""

    def __init__(self) -> None:
        self._left_out: dict[str, list[str]] = {}
        self._changed: dict[str, list[str]] = {}

    def read_all(self, root: list[Any]) -> Iterator[Instance]:
        """The usable instances."""
        for number, entry in enumerate(root, start=1):
            gloss, listed = (entry.get("gloss"), entry.get("instances")) if isinstance(entry, dict) else (None, None)
            label = str(gloss).strip() if _is_label(gloss) else ""
            place = f"entry {number}" + (f" ({_shorten(label)})" if label else "")
            if not isinstance(listed, list):
                self.leave_out("an entry has no list of instances", place)
            elif not label:
                self.leave_out("the gloss is missing or no text", place, len(listed))
            elif len(json.dumps(json.dumps(label))) > _MOST_GLOSS_BYTES:
                self.leave_out(f"the gloss is too long ({len(label)} characters)", f"{place[:60]}…", len(listed))
            elif REPLACEMENT in label:
                self.leave_out("the gloss has bytes that are not UTF-8 (save the file as UTF-8)", place, len(listed))
            elif fault := describe_gloss_fault(label):
                self.leave_out("the gloss cannot be used", f"{place} ({fault})", len(listed))
            else:
                for position, fields in enumerate(listed, start=1):
                    try:
                        yield self._read(fields, label)
                    except _UnusableInstance as error:
                        video_id = fields.get("video_id") if isinstance(fields, dict) else None
                        which = _shorten(str(video_id)) if _is_label(video_id) else f"{place}, instance {position}"
                        self.leave_out(str(error), f"{which} ({_shown(error.value)})")

    def leave_out(self, reason: str, which: str, count: int = 1) -> None:
        """Remember instances that are left out."""
        self._left_out.setdefault(reason, []).extend([which, *[""] * (count - 1)])

    def notes(self) -> Iterator[str]:
        """What was not used: one sentence for each kind."""
        for what, examples in self._changed.items():
            yield f"{what} in {_count(examples)}, for example {examples[0]}"
        for reason, names in self._left_out.items():
            yield f"{_count(names)} left out, because {reason}: {_named(names)}"

    def _read(self, fields: Any, gloss: str) -> Instance:
        """Read an instance.

        Raises:
            _UnusableInstance: it cannot be used.
        """
        if not isinstance(fields, dict):
            raise _UnusableInstance("an instance is no object", fields)
        video_id = _read_id(fields.get("video_id"))
        first, last = _read_frame(fields, "frame_start", 1), _read_frame(fields, "frame_end", TO_THE_END)
        split = _read_split(fields.get("split"))
        signer, box = _read_signer(fields.get("signer_id")), _read_box(fields.get("bbox"))
        rate = _read_rate(fields.get("fps"))
        is_cut = first > 1 or last > 0
        for name, is_unknown, consequence in (
            ("split", not split, ", so the clip is not trained on,"),
            ("signer_id", not signer, ""),
            ("bbox", box is None, ""),
            ("fps", is_cut and not rate, f", so frames are counted at {WLASL_FPS:g} per second,"),
        ):
            if is_unknown:
                self._note(f"{name} is unknown{consequence}", f"{video_id} ({_shown(fields.get(name))})")
        if split and split != fields["split"]:
            self._note(f"split {quote(fields['split'])} is read as {quote(split)}", video_id)
        return Instance(
            clip_id=video_id,
            gloss=gloss,
            split=split,
            signer=signer,
            frame_start=max(1, first),
            frame_end=last if last > 0 else TO_THE_END,
            source=_read_text(fields.get("source")),
            box=box or NO_BOX,
            fps=rate,
            url=_read_text(fields.get("url")),
        )

    def _note(self, what: str, which: str) -> None:
        self._changed.setdefault(what, []).append(which)


def _without_repeated_ids(instances: list[Instance], reader: _InstanceReader) -> list[Instance]:
    """The instances without those whose id has been read before.

    If instances with one id differ in gloss or split, it is unknown which is right, and all of them are left out.
    """
    labels: dict[str, set[tuple[str, str]]] = {}
    for instance in instances:
        labels.setdefault(instance.clip_id, set()).add((instance.gloss, instance.split))
    unique: dict[str, Instance] = {}
    for instance in instances:
        video_id = instance.clip_id
        if len(labels[video_id]) > 1:
            reader.leave_out("the same video_id has different glosses or splits", video_id)
        elif unique.setdefault(video_id, instance) is not instance:
            reader.leave_out("the video_id is listed more than once, and the first instance is used", video_id)
    return list(unique.values())


def _read_id(value: Any) -> str:
    """The id, which becomes part of a key.

    Raises:
        _UnusableInstance: it is missing, or cannot be part of a key.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _is_label(value):
        raise _UnusableInstance("the video_id is missing or no text", value)
    try:
        return keys.check_name("clip", str(value).strip())
    except InvalidInput as error:
        reason = "the video_id is not 1 to 128 letters, digits, dots, dashes and underscores"
        raise _UnusableInstance(reason, value) from error


def _read_frame(fields: Mapping[str, Any], name: str, default: int) -> int:
    """A frame number. Without a usable one the instance is useless: other frames may show another sign.

    Raises:
        _UnusableInstance: it is not a whole number.
    """
    value = fields.get(name)
    if value is None or value == "":
        return default
    number = _read_number(value)
    if not number.is_integer():
        raise _UnusableInstance(f"{name} is not a whole number", value)
    return int(number)


def _read_split(value: Any) -> str:
    return SPLIT_NAMES.get(value.strip().lower(), "") if isinstance(value, str) else ""


def _read_text(value: Any) -> str:
    return value if isinstance(value, str) and not describe_label_fault(value) else ""


def _read_signer(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not _is_label(value):
        return ""
    signer = str(value).strip()
    unknown = signer.lower() in _NO_SIGNER or REPLACEMENT in signer or describe_label_fault(signer)
    return "" if unknown else signer


def _read_rate(value: Any) -> float:
    """The rate at which an instance counts frames; 0 if it is missing or no possible rate."""
    rate = _read_number(value)
    return rate if 0 < rate <= _MOST_FPS else 0.0


def _read_box(value: Any) -> tuple[int, int, int, int] | None:
    """The bounding box; `NO_BOX` if the metadata has none, and None if it has an unusable one."""
    if value is None or value in ([], ""):
        return NO_BOX
    numbers = [_read_number(side) for side in value] if isinstance(value, list) else []
    if len(numbers) != len(NO_BOX) or not all(number.is_integer() for number in numbers):
        return None
    left, top, right, bottom = map(int, numbers)
    return left, top, right, bottom


def _read_number(value: Any) -> float:
    """A number; NaN if the value is none."""
    try:
        if isinstance(value, bool):
            return math.nan
        return float(value) if isinstance(value, int | float) else parse_number(value)
    except (ValueError, TypeError, AttributeError, OverflowError):
        return math.nan


def _is_label(value: Any) -> bool:
    """Whether the value is a text or a whole number."""
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _shown(value: Any) -> str:
    """A value in a message."""
    try:
        return "null" if value is None else _shorten(repr(value))
    except RecursionError:
        return "a deeply nested value"


def _shorten(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _count(names: list[str]) -> str:
    return f"{len(names)} instance{'s' * (len(names) != 1)}"


def _named(names: list[str]) -> str:
    """The names, or the first of them if there are many."""
    unique = list(dict.fromkeys(filter(None, names)))
    more = len(unique) - _MOST_NAMED
    return ", ".join(unique[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
