"""The settings of the extractor service."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from services.extractor.tracking.trackers import Device, TrackingQuality
from signet.home_paths import HomePath
from signet.rpc.settings import ServiceSettings

DEFAULT_CLIP_TIMEOUT_SECONDS = 300.0
DEFAULT_CORPUS = "wlasl"
DEFAULT_MAX_GLOSSES = 20


class ExtractorSettings(ServiceSettings):
    """Turns sign-language video into landmark tensors, over gRPC."""

    service: ClassVar[str] = "extractor"

    wlasl: HomePath = Field(
        default=Path("data/wlasl"),
        description="Folder of videos: own ones (<gloss>/*.mp4), WLASL (WLASL_v0.3.json or nslt_*.json, and the clips "
        "in clips/, videos/, raw_videos_mp4/, raw_videos/ or next to it) or MS-ASL (MSASL_*.json); or the JSON file",
    )
    wlasl_clips: HomePath | None = Field(
        default=None,
        description="Directory of the clips (<video_id>.mp4, .mov, .webm, ...), if they are not found from --wlasl",
    )
    workers: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Worker processes; 0 takes one per core, as far as the memory of the container allows",
    )
    picture_streams: int = Field(
        default=4,
        ge=0,
        le=256,
        description="Streams of pictures at a time; further ones are refused. Each has a process of 250 MB, and takes "
        "a third of a core",
    )
    quality: TrackingQuality = Field(
        default=TrackingQuality.FAST,
        description="fast tracks 10 frames a second; full tracks every frame with MediaPipe's own graph, which takes "
        "five times as long. A corpus has clips of one quality",
    )
    device: Device = Field(
        default=Device.CPU,
        description="Where the clips of a corpus are tracked. cuda tracks many clips at a time on an NVIDIA GPU, with "
        "the quality fast",
    )
    clip_timeout_seconds: float = Field(
        default=DEFAULT_CLIP_TIMEOUT_SECONDS,
        gt=0,
        description="After this long a clip is given up and its worker replaced; a clip of more than 1,500 frames has "
        "more time in proportion. A clip that is sent in a call has at most 60 s, and 0.2 s more for each frame",
    )
    auto_extract: bool = Field(
        default=False, description="Extract without being asked, whenever the clips are there and have changed"
    )
    corpus: str = Field(default=DEFAULT_CORPUS, description="Name of these landmarks in the store")
    max_glosses: int | None = Field(
        default=None,
        ge=0,
        description="Take the glosses with the most clips that decode, this many; 0 takes all. Unset, it is 20, but "
        "all of own videos",
    )
    samples_per_gloss: int = Field(default=0, ge=0, description="At most this many clips of each gloss; 0 takes all")
    rescan_seconds: float = Field(default=60.0, gt=0, description="How often to look whether the clips have changed")
