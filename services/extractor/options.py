"""The options of `signet extract`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services.extractor.sources.instances import SPLITS
from services.extractor.sources.own.clip_table import COLUMNS
from services.extractor.tracking.trackers import Device, TrackingQuality

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of videos: own ones (<gloss>/*.mp4), WLASL (WLASL_v0.3.json or nslt_*.json) or MS-ASL "
        "(MSASL_*.json); or the JSON file itself, or a table (CSV) of own videos",
        show_default="data/wlasl",
    ),
]
WlaslOption = Annotated[Path, typer.Option(envvar="SIGNET_WLASL", help="Another name of PATH, which replaces it")]
ClipsOption = Annotated[
    Path | None, typer.Option(envvar="SIGNET_WLASL_CLIPS", help="Folder of the videos, if it is elsewhere")
]
TableOption = Annotated[
    list[Path] | None,
    typer.Option(
        help=f"CSV file with a row for each clip of own videos. Columns: {', '.join(COLUMNS)}. Only file is needed if "
        "folders say the gloss; start and end are seconds. Repeat for more: train.csv is the table of train",
        show_default="videos.csv or metadata.csv in the folder",
    ),
]
MaxGlossesOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of glosses, taken in order of their clips that decode; 0 takes all",
        show_default="20, but all of own videos",
    ),
]
SamplesOption = Annotated[int, typer.Option(min=0, help="Largest number of clips of each gloss; 0 takes all")]
SplitOption = Annotated[list[str] | None, typer.Option(help=f"Only this split ({', '.join(SPLITS)}); repeat for more")]
GlossOption = Annotated[
    list[str] | None, typer.Option(help="Only this gloss, instead of --max-glosses; repeat for more")
]
CorpusOption = Annotated[
    str | None,
    typer.Option(help="Name for these landmarks in the store", show_default="videos, wlasl or msasl, by kind"),
]
WorkersOption = Annotated[
    int, typer.Option(min=0, envvar="SIGNET_WORKERS", help="Worker processes; 0 takes one per core")
]
StatsOption = Annotated[
    bool, typer.Option("--stats", help="Print each clip's shape, mean, std, share of frames per part, and warnings")
]
ShardOption = Annotated[
    str,
    typer.Option(
        envvar="SIGNET_SHARD",
        help="Only part i of n of the chosen clips, written i/n and counted from 0/n: for n machines with one store",
    ),
]
QualityOption = Annotated[
    TrackingQuality,
    typer.Option(
        envvar="SIGNET_QUALITY",
        help="fast tracks 10 frames a second; full tracks every frame with MediaPipe's own graph, which takes five "
        "times as long. A corpus has clips of one quality",
    ),
]


DeviceOption = Annotated[
    Device,
    typer.Option(
        envvar="SIGNET_DEVICE",
        help="cuda tracks many clips at a time on an NVIDIA GPU, with the quality fast. It needs the extra "
        "extractor-gpu",
    ),
]


class Engine(StrEnum):
    """Where the clips are worked on."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    Engine,
    typer.Option(
        envvar="SIGNET_ENGINE",
        help="local uses processes of this machine; ray uses all cores of a Ray cluster. Its nodes need "
        "the extras extractor and ray, and neither the clips nor the store",
    ),
]
RayAddressOption = Annotated[
    str,
    typer.Option(
        envvar="SIGNET_RAY_ADDRESS",
        help="host:port of the head node of the Ray cluster; auto takes the cluster that this machine belongs to",
    ),
]
ClipTimeoutOption = Annotated[
    float,
    typer.Option(
        min=0.1,
        envvar="SIGNET_CLIP_TIMEOUT_SECONDS",
        help="Give a clip up after this many seconds; one of more than a minute has more time",
    ),
]

AuditOption = Annotated[
    bool,
    typer.Option(
        "--audit",
        help="Extract nothing. Look for bad clips among those of --corpus in the store, of --gloss and --split if they "
        "are given, and write a page with pictures of the worst",
    ),
]
PageOption = Annotated[
    Path | None, typer.Option(dir_okay=False, help="With --audit: the page", show_default="audit-<CORPUS>.html")
]
PicturesOption = Annotated[
    int, typer.Option(min=0, max=2000, help="With --audit: the number of clips with pictures, the worst first")
]
