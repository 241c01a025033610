"""What exists: the state of each clip, from the files in the directories and from the ledger."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.extractor.fetching.ledger import FetchLedger, FileRecord
from services.extractor.fetching.links import ClipLink, LinkKind, group_links
from services.extractor.fetching.youtube import has_yt_dlp
from services.extractor.sources.clip_files import find_clip_files
from services.extractor.sources.instances import Instance


@dataclass(frozen=True)
class ClipState:
    """Whether a clip exists.

    Attributes:
        reason: why it does not, one word; "" if it does.
        host: the host of its address.
        key: the key of its link.
        message: the reason, for people.
        path: its file; None without one.
    """

    instance: Instance
    reason: str
    host: str
    key: str
    message: str = ""
    path: Path | None = None


def find_files(directories: Sequence[Path], instances: Sequence[Instance]) -> dict[str, Path]:
    """The file of each instance that has one, by clip_id of the metadata."""
    found = find_clip_files(directories, instances)
    names = {instance.clip_id: found.restored_ids.get(instance.clip_id, instance.clip_id) for instance in instances}
    return {clip_id: found.paths[name] for clip_id, name in names.items() if name in found.paths}


def relative_name(path: Path, clips: Path) -> str:
    """The name of a file in the ledger."""
    return os.path.relpath(path, clips)


def checked_file(path: Path, clips: Path, ledger: FetchLedger) -> FileRecord | None:
    """The check of a file; None if it was not checked, or has changed since."""
    record = ledger.files.get(relative_name(path, clips))
    return record if record is not None and record.is_about(path) else None


def survey_clips(
    instances: Sequence[Instance], paths: Mapping[str, Path], clips: Path, ledger: FetchLedger
) -> list[ClipState]:
    """The state of each instance."""
    states = []
    with_youtube = has_yt_dlp()
    for link in group_links(instances):
        reason, message = _explain_link(link, ledger, with_youtube)
        for instance in link.instances:
            path = paths.get(instance.clip_id)
            record = checked_file(path, clips, ledger) if path else None
            if path is None:
                state = reason, message
            elif record is None:
                state = "unchecked", ""
            elif record.reason:  # a broken file: why there is no better one
                state = (record.reason, record.message) if reason in {"not_tried", ""} else (reason, message)
            elif instance.clip_id in record.outside:
                state = "outside", record.outside[instance.clip_id]
            else:
                state = "", ""
            states.append(ClipState(instance, state[0], link.host, link.key, state[1], path))
    return states


def _explain_link(link: ClipLink, ledger: FetchLedger, with_youtube: bool) -> tuple[str, str]:
    """Why a link has no file: the reason and a message."""
    if reason := unusable_reason(link):
        return reason, link.url
    record = ledger.links.get(link.key)
    if link.kind is LinkKind.YOUTUBE and not with_youtube and (record is None or not record.reason):
        return "needs_fetch", ""
    return (record.reason or "not_tried", record.message) if record else ("not_tried", "")


def unusable_reason(link: ClipLink) -> str:
    """The reason why no attempt is made to download a link; "" if one can be made."""
    return {LinkKind.FLASH: "flash", LinkKind.NONE: "no_url"}.get(link.kind, "")
