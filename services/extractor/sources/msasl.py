"""Reads MS-ASL: lists of segments of longer videos of YouTube (MSASL_train.json, MSASL_val.json, MSASL_test.json).

A video is named by its id at YouTube, or by the field `file`. Several segments may be of one video. A video that was
cut to one segment is named like the clip: `<youtube id>_<first frame>_<last frame>`. Each list is one split. The gloss
is that of `MSASL_classes.json`, which joins synonyms, or else the field `text`. Times are in seconds (`start_time`,
`end_time`), since the frame numbers count at the rate of the video that Microsoft had.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.extractor.sources.clip_files import READ_SUFFIXES, split_video_name, youtube_id
from services.extractor.sources.corpus import VideoCorpus
from services.extractor.sources.instances import NO_BOX, Instance
from services.extractor.sources.own.listing import VideoFile, list_folder
from services.extractor.sources.wording import count, name_some
from signet.errors import InvalidInput, NotFound
from signet.labels import describe_gloss_fault, describe_label_fault
from signet.text_files import parse_json

LISTS = {"MSASL_train.json": "train", "MSASL_val.json": "val", "MSASL_test.json": "test"}
CLASSES = "MSASL_classes.json"
_FIELDS = {"clean_text", "org_text", "start_time"}
_NAMED_SPLIT = re.compile(r"(?:^|[_.-])(train|val|test)(?:[_.-]|$)", re.IGNORECASE)
# A segment of a sign is seconds long; a later time is damage.
_MOST_SECONDS = 1e6
_MOST_PIXELS = 16384


def find_msasl_lists(folder: Path) -> list[Path]:
    """The lists of MS-ASL in a folder."""
    return [folder / name for name in LISTS if (folder / name).is_file()]


def is_msasl_list(root: Any) -> bool:
    """Whether parsed JSON has the layout of MSASL_train.json."""
    return isinstance(root, list) and any(isinstance(item, dict) and item.keys() & _FIELDS for item in root)


def read_msasl(lists: Sequence[Path], videos: Path | None = None) -> VideoCorpus:
    """Read lists of MS-ASL, and find the videos.

    Args:
        lists: the lists; the split of each is in its name.
        videos: the folder of the videos; by default, the folder of the lists and those below it.

    Raises:
        NotFound: there is no video.
        InvalidInput: a file has another layout, or no segment can be used.
    """
    folder = videos or lists[0].parent
    classes = _read_classes(lists[0].parent / CLASSES)
    reader = _SegmentReader(classes)
    for path in lists:
        reader.read(path)
    if not reader.instances:
        raise InvalidInput(f"{lists[0]}: no segment can be used.{''.join(f' ({note}.)' for note in reader.notes())}")
    content = list_folder(folder)
    if not content.videos:
        raise NotFound(
            f"{folder}: has no video. The videos of MS-ASL are on YouTube; name each <id of the video at YouTube>.mp4, "
            "or name their folder with --clips (or SIGNET_WLASL_CLIPS)."
        )
    files, unknown = _find_files(content.videos, reader)
    notes = reader.notes()
    if unknown:
        notes.append(f"{count(unknown, 'video')} not taken, because no segment names them: {name_some(unknown)}")
    return VideoCorpus(
        instances=tuple(reader.instances.values()),
        folder=folder,
        files=files,
        metadata=(*lists, *([lists[0].parent / CLASSES] if classes else [])),
        names=frozenset(str(video.relative) for video in content.videos),
        notes=tuple(notes),
        title="MS-ASL",
        naming="<id of the video at YouTube>.mp4",
        default_name="msasl",
    )


def _read_classes(path: Path) -> list[str]:
    """The gloss of each class; none if there is no such file."""
    if not path.is_file():
        return []
    root = parse_json(path.read_bytes(), str(path))
    if not isinstance(root, list) or not all(isinstance(item, str) for item in root):
        raise InvalidInput(f"{path}: is not a list of the glosses of the classes. Download it again, or delete it.")
    return root


@dataclass
class _SegmentReader:
    """Reads segments, and remembers what could not be used.

    Attributes:
        classes: the glosses by class; empty if they are unknown.
        instances: the instances by clip id.
        names: the names that the video of an instance may have, by clip id.
    """

    classes: Sequence[str]
    instances: dict[str, Instance] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _left_out: dict[str, list[str]] = field(default_factory=dict)
    _contradictory: set[str] = field(default_factory=set)

    def read(self, path: Path) -> None:
        """Read a list.

        Raises:
            InvalidInput: it has another layout, or its name says no split.
        """
        root = parse_json(path.read_bytes(), str(path))
        if not is_msasl_list(root):
            raise InvalidInput(
                f"{path}: is no list of segments of MS-ASL (clean_text, url, start_time, end_time, label)."
            )
        named = _NAMED_SPLIT.search(path.stem)
        if named is None:
            raise InvalidInput(
                f"{path}: its name says no split. Name it MSASL_train.json, MSASL_val.json or MSASL_test.json."
            )
        for number, entry in enumerate(root, start=1):
            try:
                self._add(*self._read_segment(entry, named[1].lower()))
            except ValueError as error:
                self._left_out.setdefault(str(error), []).append(f"{path.name} entry {number}")

    def notes(self) -> list[str]:
        """What was not used."""
        notes = [
            f"{count(places, 'segment')} left out, because {reason}: {name_some(places)}"
            for reason, places in self._left_out.items()
        ]
        if self._contradictory:
            ids = sorted(self._contradictory)
            notes.append(
                f"{count(ids, 'segment')} left out, because they have several glosses or splits: {name_some(ids)}"
            )
        return notes

    def _add(self, instance: Instance, names: tuple[str, ...]) -> None:
        clip_id = instance.clip_id
        before = self.instances.get(clip_id)
        if clip_id in self._contradictory:
            return
        if before and (before.gloss, before.split) != (instance.gloss, instance.split):
            self._contradictory.add(clip_id)
            del self.instances[clip_id]
        elif not before:
            self.instances[clip_id] = instance
            self.names[clip_id] = names

    def _read_segment(self, entry: Any, split: str) -> tuple[Instance, tuple[str, ...]]:
        """The instance of a segment, and the names that its video may have.

        Raises:
            ValueError: it cannot be used, and the message is the reason.
        """
        if not isinstance(entry, dict):
            raise ValueError("an entry is no object")  # noqa: TRY004
        url = entry.get("url")
        video = youtube_id(url) if isinstance(url, str) else ""
        if not video:
            raise ValueError("url is no address of a video at YouTube")
        start, end = (_read_seconds(entry.get(name)) for name in ("start_time", "end_time"))
        if end <= start:
            raise ValueError("end_time is not after start_time")
        clip_id = f"{video}_{entry.get('start', round(start * 1000))}_{entry.get('end', round(end * 1000))}"
        clip_id = re.sub(r"[^A-Za-z0-9_-]", "", clip_id)[:128]
        title = entry.get("file")
        signer = entry.get("signer_id", entry.get("signer"))
        instance = Instance(
            clip_id=clip_id if clip_id[0].isalnum() else f"v{clip_id}"[:128],
            gloss=self._gloss(entry),
            split=split,
            signer=str(signer) if isinstance(signer, int | str) and not describe_label_fault(str(signer)) else "",
            source="youtube",
            box=_read_box(entry),
            url=str(url),
            start_seconds=start,
            end_seconds=end,
        )
        names = (clip_id, video, *([title.strip()] if isinstance(title, str) and title.strip() else []))
        return instance, names

    def _gloss(self, entry: dict[str, Any]) -> str:
        label = entry.get("label")
        text = entry.get("text") or entry.get("clean_text")
        if self.classes and isinstance(label, int) and 0 <= label < len(self.classes):
            text = self.classes[label]
        if not isinstance(text, str) or not text.strip():
            raise ValueError("it has no gloss (label, text, clean_text)")
        if fault := describe_gloss_fault(text.strip()):
            raise ValueError(f"its gloss cannot be used ({fault})")
        return text.strip()


def _read_seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_SECONDS:
        raise ValueError("start_time or end_time is no time in seconds")
    return float(value)


def _read_box(entry: dict[str, Any]) -> tuple[int, int, int, int]:
    """The signer's box in pixels. MS-ASL gives top, left, bottom, right as shares of the picture."""
    box, width, height = entry.get("box"), entry.get("width"), entry.get("height")
    numbers = [width, height, *box] if isinstance(box, list) else []
    if len(numbers) != 2 + len(NO_BOX) or not all(
        isinstance(each, int | float) and math.isfinite(each) for each in numbers
    ):
        return NO_BOX
    wide, high, top, left, bottom, right = (float(each) for each in numbers)
    if not (
        0 < wide <= _MOST_PIXELS and 0 < high <= _MOST_PIXELS and 0 <= left < right <= 1 and 0 <= top < bottom <= 1
    ):
        return NO_BOX
    return round(left * wide), round(top * high), round(right * wide), round(bottom * high)


def _find_files(videos: Sequence[VideoFile], reader: _SegmentReader) -> tuple[dict[str, Path], list[str]]:
    """The file of each segment that has one, and the names of videos that no segment names."""
    by_name: dict[str, VideoFile] = {}
    for video in sorted(videos, key=_preference):
        by_name.setdefault(video.stem, video)
    files = {}
    for clip_id in reader.instances:
        found = next((by_name[name] for name in _stems(reader.names[clip_id]) if name in by_name), None)
        if found:
            files[clip_id] = found.path
    used = set(files.values())
    return files, [str(video.relative) for video in videos if video.path not in used]


def _preference(video: VideoFile) -> tuple[int, int, str]:
    suffix = split_video_name(video.relative.name)[1]
    return READ_SUFFIXES.index(suffix), len(video.relative.parts), str(video.relative)


def _stems(names: Sequence[str]) -> Iterator[str]:
    """The names without the suffix of a video."""
    for name in names:
        yield split_video_name(name)[0]
