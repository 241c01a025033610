"""Console output of the commands: the answer to a clip."""

from signet.client import Recognition
from signet.landmarks import NothingSigned
from signet.terminal.output import Console, TableColumn, bar, print_table, say
from signet.transcripts import Transcript

_NOTHING_SIGNED: dict[str, str] = {
    NothingSigned.TOO_SHORT: "the clip is too short for a sign. Film the whole sign.",
    NothingSigned.NO_HAND_FOUND: "no hand was found. Film the signer from the waist up, in good light, "
    "with both hands in the picture.",
    NothingSigned.NO_HAND_MOVES: "no hand moves. All hands are held still, or rest.",
}

# With a lower score, an unknown sign is more probable than one of the vocabulary, if both are equally frequent.
_LIKELY = 0.5


def show_prediction(console: Console, recognition: Recognition) -> None:
    """Print the answer to a clip."""
    if recognition.nothing_signed:
        reason = _NOTHING_SIGNED.get(recognition.nothing_signed, "this version of Signet does not know the reason")
        say(console, f"nothing signed: {reason}", "bold")
    else:
        _show_ranking(console, recognition)
    for warning in recognition.warnings:
        say(console, f"warning: {warning}", "yellow")
    timing = recognition.timing
    extract = f", of which extraction {timing.extract_seconds:.2f} s" if timing.extract_seconds else ""
    decoded = f"{recognition.frames} frames"
    if not recognition.nothing_signed:
        best_path = " ".join(recognition.greedy_glosses) or "(empty)"
        decoded = f"best path: {best_path}; blank in {100 * recognition.blank_ratio:.0f} % of {decoded}"
    model = f"{recognition.model_name} {recognition.model_version}"
    say(console, f"{model}; {decoded}; {timing.total_seconds:.2f} s{extract}", "dim")


def _show_in_vocabulary(console: Console, recognition: Recognition) -> None:
    if recognition.in_vocabulary is None:  # an older model, or an older server
        return
    score = recognition.in_vocabulary
    unlikely = f" - probably none of the model's {recognition.vocabulary_size} signs" if score < _LIKELY else ""
    say(console, f"in vocabulary: {score:.2f}{unlikely}", "yellow" if unlikely else "")


def _show_ranking(console: Console, recognition: Recognition) -> None:
    columns = [
        TableColumn("", "right", "dim"),
        TableColumn("sign", style="bold"),
        TableColumn("p", "right"),
        TableColumn("", style="cyan"),
    ]
    rows = [
        [str(rank), guess.gloss, f"{guess.probability:.3f}", bar(guess.probability)]
        for rank, guess in enumerate(recognition.predictions, 1)
    ]
    print_table(console, columns, rows)
    _show_in_vocabulary(console, recognition)
    if recognition.moment is not None:  # a server of version 0.1 sends none
        say(
            console,
            f"{recognition.predictions[0].gloss}: {recognition.moment.start_seconds:.1f} to "
            f"{recognition.moment.end_seconds:.1f} s into the clip; read as continuous signing: "
            f"{' '.join(recognition.continuous_glosses) or '(nothing)'}",
        )


def show_transcript(console: Console, transcript: Transcript) -> None:
    """Print the signs of a video as a table."""
    model = transcript.model
    if transcript.signs:
        columns = [
            TableColumn("start", "right"),
            TableColumn("end", "right"),
            TableColumn("sign", style="bold"),
            TableColumn("p", "right"),
            TableColumn("or", style="dim", optional=True),
        ]
        rows = [
            [
                format_clock(sign.start),
                format_clock(sign.end),
                sign.gloss,
                f"{sign.probability:.3f}",
                ", ".join(f"{other.gloss} {other.probability:.3f}" for other in sign.alternatives[:2]),
            ]
            for sign in transcript.signs
        ]
        print_table(console, columns, rows)
    else:
        say(console, f"no sign of the {model.vocabulary_size} that {model.name} knows was found", "bold")
    seconds = transcript.media.duration
    say(
        console,
        f"{model.name} {model.version}; {count_signs(len(transcript.signs))} in {seconds:.1f} s of video",
        "dim",
    )


def format_clock(seconds: float) -> str:
    """A time in a video, such as 1:02:03.4."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest / 10:04.1f}"


def count_signs(count: int) -> str:
    """A number of signs in words: "1 sign", "2 signs"."""
    return "1 sign" if count == 1 else f"{count} signs"
