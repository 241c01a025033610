"""A corpus of videos: instances of glosses, and the video file of each. Each kind of source makes one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.extractor.sources.instances import Instance


@dataclass(frozen=True)
class VideoCorpus:
    """Instances of glosses, joined with the video files that show them.

    Attributes:
        instances: all usable instances, in the order of the metadata.
        folder: the folder of the videos; the first one if there are several.
        files: the video file of each instance that has one, by clip id.
        metadata: the files that describe the instances.
        names: names of all video files in the folders that have clips. The version of a corpus depends on them.
        notes: remarks for people about what was not used.
        title: name of the corpus in messages.
        naming: how a video file must be named, in messages.
        missing_advice: how to get videos that are missing, one sentence for people; "" if there is no way.
        default_name: name of its landmarks in the store, if none is given.
        default_max_glosses: the number of glosses to extract, if none is given; 0 takes all.
        has_splits: whether the source says splits. If not, the extraction assigns them.
        cuts_long_videos: whether a whole video that is too long for a clip is cut into pieces. If not, it is refused.
    """

    instances: tuple[Instance, ...]
    folder: Path
    files: Mapping[str, Path]
    metadata: tuple[Path, ...] = ()
    names: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    title: str = "WLASL"
    naming: str = "<video_id>.mp4"
    missing_advice: str = ""
    default_name: str = "wlasl"
    default_max_glosses: int = 20
    has_splits: bool = True
    cuts_long_videos: bool = False

    def path(self, instance: Instance) -> Path:
        """Path of the instance's video; if it has no file, the path where it could be."""
        return self.files.get(instance.part_of or instance.clip_id, self.folder / f"{instance.clip_id}.mp4")

    def has(self, instance: Instance) -> bool:
        """Whether the instance's video exists."""
        return instance.clip_id in self.files
