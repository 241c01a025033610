"""`signet transcribe`: what it prints, and which files it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from services.extractor.jobs.workers import WorkerPool
from services.standalone.console import count_signs, show_transcript
from services.standalone.models import ModelChoice, load_chosen_model
from services.standalone.output_files import check_outputs, write_outputs
from services.standalone.server_transcription import ServerTranscription
from services.standalone.transcription import Transcription, TranscriptionProgress
from signet.errors import InvalidInput, InvalidSetting
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


@dataclass(frozen=True)
class TranscriptFiles:
    """A video, and the files of its transcript by the option that names them; none to print the signs.

    `title` is printed above the signs; "" for a single video.
    """

    video: Path
    files: Mapping[str, Path]
    title: str = ""


def name_files(videos: Sequence[Path], options: Mapping[str, Path]) -> tuple[TranscriptFiles, ...]:
    """The files of each video. In a folder, a file has the name of its video.

    Raises:
        InvalidSetting: an option names one file for several videos, or two videos would have the same file.
        SignetError: the errors of `check_outputs`.
    """
    named: list[TranscriptFiles] = []
    used: dict[Path, Path] = {}
    for video in videos:
        files = {}
        for option, path in options.items():
            if len(videos) > 1 and not path.is_dir():
                raise InvalidSetting(f"{option} {path}: {len(videos)} videos need a folder. Make it, and name it.")
            file = files[option] = path / f"{video.stem}.{option.lstrip('-')}" if path.is_dir() else path
            if (other := used.setdefault(file.resolve(), video)) != video:
                raise InvalidSetting(f"{video}: its file {file} would be that of {other}. Transcribe them apart.")
        check_outputs(files, list(videos))
        named.append(TranscriptFiles(video, files, str(video) if len(videos) > 1 else ""))
    return tuple(named)


def run_transcriptions(named: Sequence[TranscriptFiles], transcribe: Callable[[TranscriptFiles], None]) -> bool:
    """Transcribe videos one after the other. Returns whether one of several failed; the error of one video is raised.

    Raises:
        SignetError: the errors of `transcribe`; of several videos, those that are not about a video.
    """
    failed = False
    for each in named:
        try:
            transcribe(each)
        except InvalidInput as error:
            if len(named) == 1:
                raise
            failed = True
            say_error(f"error: {error}")
    return failed


def transcribe_here(
    named: Sequence[TranscriptFiles], choice: ModelChoice, threshold: float | None, workers: int
) -> bool:
    """Transcribe videos in this process.

    Args:
        named: the videos with their files.
        choice: the model.
        threshold: signs with a lower score are left out; None takes that of the model.
        workers: the number of worker processes; 0 takes one per core.

    Raises:
        ClipError: the video cannot be used.
        SignetError: the errors of `load_chosen_model` and `write_outputs`.
    """
    chosen = load_chosen_model(choice)
    if chosen.note:
        say_error(f"note: {chosen.note}")
    with WorkerPool(workers) as pool:

        def transcribe(each: TranscriptFiles) -> None:
            transcription = Transcription(each.video, pool, StoreSettings().cache)
            display = _ProgressDisplay(each.video.name)
            try:
                with display:
                    transcript = transcription.run(chosen.model, threshold, display.show)
            except KeyboardInterrupt:
                say_error(
                    f"{transcription.finished_seconds:.0f} of {display.total_seconds:.0f} s of the video are kept. The "
                    "same command goes on from there."
                )
                raise
            _save_or_show(transcript, each)
            transcription.forget()

        return run_transcriptions(named, transcribe)


def transcribe_remotely(
    named: Sequence[TranscriptFiles], make: Callable[[Path], ServerTranscription], threshold: float | None
) -> bool:
    """Have a server transcribe videos. `make` begins the transcription of a video.

    Raises:
        SignetError: the errors of `ServerTranscription.run` and `write_outputs`.
    """

    def transcribe(each: TranscriptFiles) -> None:
        display = _ProgressDisplay(each.video.name)
        with display:
            transcript = make(each.video).run(threshold, display.show)
        _save_or_show(transcript, each)

    return run_transcriptions(named, transcribe)


def report_retry(error: Exception, seconds: float) -> None:
    """Say that a server is asked again."""
    say_error(f"note: {error} The video is sent again in {seconds:.0f} s.")


def _save_or_show(transcript: Transcript, named: TranscriptFiles) -> None:
    """Write the files of a transcript, or print its signs if there are none."""
    outputs = named.files
    write_outputs({path: _writer(option, path, transcript, named.video) for option, path in outputs.items()})
    console = open_console()
    if not outputs:
        if named.title:
            print_line(console, named.title)
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
        self.total_seconds = 0.0
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
        self.total_seconds = progress.total_seconds
        if progress.total_seconds:
            done, total = progress.seconds, progress.total_seconds
            text = f"{done:.0f} of {total:.0f} s"
        else:
            done, total = progress.stage_share, 1.0
            text = f"{100 * done:.0f} % {progress.stage}"
        self._bar.update(self._task, completed=done, total=total, signs=progress.signs, text=text)
