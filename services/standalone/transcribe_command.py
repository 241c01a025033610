"""`signet transcribe`: what it prints, and which files it writes."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from services.extractor.jobs.workers import WorkerPool
from services.standalone.console import count_signs, show_transcript
from services.standalone.models import ModelChoice, load_chosen_model
from services.standalone.output_files import check_outputs, write_outputs
from services.standalone.server_transcription import ServerTranscription
from services.standalone.transcription import Transcription, TranscriptionProgress
from signet.store.settings import StoreSettings
from signet.terminal.output import (
    BarColumn,
    TimeRemainingColumn,
    open_console,
    print_line,
    progress_bar,
    say,
    say_error,
)
from signet.transcripts import Transcript, to_eaf, to_srt, to_vtt


def run_transcription(
    video: Path, outputs: Mapping[str, Path], choice: ModelChoice, threshold: float | None, workers: int
) -> None:
    """Transcribe a video, and write the files, or print the signs if there are none.

    Args:
        video: the video.
        outputs: the files by the option that names them.
        choice: the model.
        threshold: signs with a lower score are left out; None takes that of the model.
        workers: the number of worker processes; 0 takes one per core.

    Raises:
        ClipError: the video cannot be used.
        SignetError: the errors of `load_chosen_model`, `check_outputs` and `write_outputs`.
    """
    check_outputs(outputs, [video])
    chosen = load_chosen_model(choice)
    if chosen.note:
        say_error(f"note: {chosen.note}")
    with WorkerPool(workers) as pool:
        transcription = Transcription(video, pool, StoreSettings().cache)
        display = _ProgressDisplay(video.name)
        try:
            with display:
                transcript = transcription.run(chosen.model, threshold, display.show)
        except KeyboardInterrupt:
            say_error(
                f"interrupted after {display.seconds:.0f} of {display.total_seconds:.0f} s of the video. The same "
                "command goes on from there."
            )
            raise
    _save_or_show(transcript, outputs, video)
    transcription.forget()


def run_server_transcription(
    video: Path, outputs: Mapping[str, Path], transcription: ServerTranscription, threshold: float | None
) -> None:
    """Have a server transcribe a video, and write the files, or print the signs if there are none.

    Raises:
        SignetError: the errors of `ServerTranscription.run`, `check_outputs` and `write_outputs`.
    """
    check_outputs(outputs, [video])
    display = _ProgressDisplay(video.name)
    with display:
        transcript = transcription.run(threshold, display.show)
    _save_or_show(transcript, outputs, video)


def report_retry(error: Exception, seconds: float) -> None:
    """Say that a server is asked again."""
    say_error(f"note: {error} The video is sent again in {seconds:.0f} s.")


def _save_or_show(transcript: Transcript, outputs: Mapping[str, Path], video: Path) -> None:
    """Write the files of a transcript, or print its signs if there are none."""
    write_outputs({path: _writer(option, path, transcript, video) for option, path in outputs.items()})
    console = open_console()
    if not outputs:
        show_transcript(console, transcript)
    for warning in transcript.warnings:
        say(console, f"warning: {warning}", "yellow")
    for path in outputs.values():
        print_line(console, f"{path}: {count_signs(len(transcript.signs))}")


def _writer(option: str, path: Path, transcript: Transcript, video: Path) -> Callable[[], bytes]:
    """What makes the content of a file."""
    writers: dict[str, Callable[[], bytes]] = {
        "--vtt": partial(to_vtt, transcript),
        "--srt": partial(to_srt, transcript),
        "--eaf": partial(to_eaf, transcript, video, path.parent),
        "--json": transcript.to_json,
    }
    return writers[option]


class _ProgressDisplay:
    """A progress bar on a terminal. In a file or a pipe, nothing is printed."""

    def __init__(self, name: str) -> None:
        self.seconds = self.total_seconds = 0.0
        self._bar = progress_bar(
            open_console(stderr=True),
            "{task.description}",
            BarColumn(),
            "{task.fields[text]}",
            "{task.fields[signs]} signs",
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(name, total=None, signs=0, text="")

    def __enter__(self) -> "_ProgressDisplay":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: TranscriptionProgress) -> None:
        """Show how far the transcription is."""
        if not self.total_seconds and progress.resumed_seconds:
            say_error(f"going on: {progress.resumed_seconds:.0f} s of the video were tracked before")
        self.seconds, self.total_seconds = progress.seconds, progress.total_seconds
        if progress.total_seconds:
            done, total = progress.seconds, progress.total_seconds
            text = f"{done:.0f} of {total:.0f} s"
        else:
            done, total = progress.stage_share, 1.0
            text = f"{100 * done:.0f} % {progress.stage}"
        self._bar.update(self._task, completed=done, total=total, signs=progress.signs, text=text)
