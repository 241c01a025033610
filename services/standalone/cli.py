"""The commands that need no server: predict, transcribe and live. Each imports what it needs when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.standalone.options import (
    ModelNameOption,
    ModelVersionOption,
    ServerOption,
    StoreOption,
    ThresholdOption,
)
from signet.client.inputs import LEAST_SECONDS, SECONDS_PER_SECOND
from signet.errors import InvalidInput, InvalidSetting
from signet.rpc.probe import check_address
from signet.security.credentials import read_client_settings
from signet.security.options import CaOption, CertificateOption, KeyOption, TokenFileOption
from signet.terminal.output import open_console, print_line, say_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from signet.client import Recognition

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def predict(
    clips: Annotated[list[Path], typer.Argument(help="Videos, or landmark tensors (.safetensors), of one sign each")],
    *,
    server: ServerOption = "",
    top_k: Annotated[int, typer.Option(min=1, help="How many glosses to show")] = 5,
    store: StoreOption = "",
    model_name: ModelNameOption = "",
    model_version: ModelVersionOption = "",
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=86_400,
            help=f"Seconds to wait for the answer. Default: with a server {LEAST_SECONDS:.0f}, and "
            f"{SECONDS_PER_SECOND:.0f} for each second of the video; without one, as long as a video of its length may "
            "take",
            show_default=False,
        ),
    ] = None,
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Say which sign a clip shows.

    `signet predict clip.mp4` needs nothing else: the model that comes with Signet knows 100 signs of American Sign
    Language. --store names a store with a model of your own, and --server a running evaluator.

    A clip that cannot be used is named, and the others go on; the exit status is then 1. SIGNET_CLIENT_TLS=true uses
    TLS with the usual public authorities. docs/security.md has all variables.
    """
    if server:
        from services.standalone.remote import RemoteRecognizer

        check_address(server, "--server")
        security = read_client_settings(ca, client_certificate, client_key, token_file)
        with RemoteRecognizer(server, security, model_name, model_version) as remote:
            failed = _predict_all(clips, lambda clip: remote.recognise(clip, top_k, timeout))
    else:
        from services.standalone.models import ModelChoice
        from services.standalone.recognition import StandaloneRecognizer

        with StandaloneRecognizer(ModelChoice(store, model_name, model_version)) as recognizer:
            failed = _predict_all(clips, lambda clip: recognizer.recognise(clip, top_k, timeout))
            if recognizer.note:
                say_error(f"note: {recognizer.note}")
    raise typer.Exit(int(failed))


@app.command()
def transcribe(
    videos: Annotated[list[Path], typer.Argument(help="Videos of any length", show_default=False)],
    *,
    vtt: Annotated[Path | None, typer.Option(help="Save as WebVTT, for browsers: a file, or a folder")] = None,
    srt: Annotated[
        Path | None, typer.Option(help="Save as SubRip, for players and editors: a file, or a folder")
    ] = None,
    eaf: Annotated[Path | None, typer.Option(help="Save as EAF, for ELAN: a file, or a folder")] = None,
    json: Annotated[
        Path | None, typer.Option(help="Save everything as JSON (docs/transcripts.md): a file, or a folder")
    ] = None,
    threshold: ThresholdOption = None,
    workers: Annotated[
        int, typer.Option(min=0, max=256, help="Processes that track the video; 0 takes one per core")
    ] = 0,
    server: ServerOption = "",
    store: StoreOption = "",
    model_name: ModelNameOption = "",
    model_version: ModelVersionOption = "",
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Find every sign of a video, with start, end and probability.

    `signet transcribe talk.mp4 --vtt talk.vtt` makes subtitles. Without an option for a file, the signs are printed.
    `signet transcribe *.mp4 --vtt .` takes several videos: in a folder, each file has the name of its video. A video
    that cannot be used is named, and the others go on; the exit status is then 1.

    The files of a video are written when the whole video is done, all of them or none, and replace older ones. An
    interrupted command goes on where it was, if it is called again with the same video.

    With --server, the video is sent to an evaluator with an extractor, which takes at most ten minutes and 64 MiB. If
    it is busy or restarts, the video is sent again.
    """
    from services.standalone.models import ModelChoice
    from services.standalone.server_transcription import ServerTranscription
    from services.standalone.transcribe_command import name_files, report_retry, transcribe_here, transcribe_remotely

    options = {"--vtt": vtt, "--srt": srt, "--eaf": eaf, "--json": json}
    named = name_files(videos, {option: path for option, path in options.items() if path is not None})
    if not server:
        choice = ModelChoice(store, model_name, model_version)
        raise typer.Exit(int(transcribe_here(named, choice, threshold, workers)))
    check_address(server, "--server")
    if workers:
        raise InvalidSetting(f"--workers {workers}: the server does the work. Leave out --workers or --server.")
    security = read_client_settings(ca, client_certificate, client_key, token_file)

    def begin(video: Path) -> ServerTranscription:
        return ServerTranscription(video, server, security, (model_name, model_version), report_retry)

    raise typer.Exit(int(transcribe_remotely(named, begin, threshold)))


@app.command()
def live(
    *,
    camera: Annotated[int, typer.Option(min=0, max=99, help="The number of the camera")] = 0,
    video: Annotated[
        Path | None, typer.Option(help="Follow this video at the speed of its clock, instead of a camera")
    ] = None,
    threshold: ThresholdOption = None,
    server: ServerOption = "",
    store: StoreOption = "",
    model_name: ModelNameOption = "",
    model_version: ModelVersionOption = "",
    ca: CaOption = None,
    client_certificate: CertificateOption = None,
    client_key: KeyOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Show signs in the terminal as they are made, from a camera or a video.

    Ctrl-C ends it. Frames for which this machine is too slow are dropped and counted. With --server, only landmarks
    are sent, and no pictures.
    """
    from services.standalone.live.command import open_model_stream, run_live
    from services.standalone.live.server_stream import ServerStream
    from services.standalone.models import ModelChoice
    from signet.v1 import evaluator_pb2

    source = camera if video is None else video
    if not server:
        run_live(source, lambda: open_model_stream(ModelChoice(store, model_name, model_version), threshold))
        return
    check_address(server, "--server")
    security = read_client_settings(ca, client_certificate, client_key, token_file)
    config = evaluator_pb2.StreamConfig(model_name=model_name, model_version=model_version)
    run_live(source, lambda: ServerStream(server, security, config, threshold))


def _predict_all(clips: "Sequence[Path]", recognise: "Callable[[Path], Recognition]") -> bool:
    """Recognise clips and print the answers. Returns whether one of several failed; the error of one clip is raised."""
    from services.standalone.console import show_prediction

    console = open_console()
    failed = False
    for clip in clips:
        try:
            recognition = recognise(clip)
        except InvalidInput as error:
            if len(clips) == 1:
                raise
            failed = True
            say_error(f"error: {error}")
            continue
        if len(clips) > 1:
            print_line(console, str(clip))
        show_prediction(console, recognition)
    return failed
