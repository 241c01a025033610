"""How well signs are recognised that are enrolled on the model that comes with Signet.

    python -m bench.commands.enrolment_bundled --store URL      # the store has the corpus wlasl: WLASL100

All clips of the corpus show signs that the model knows. So the new signs are clips of the corpus played backwards:
their hands and their signers are real, and most of them are no sign of the model. In each draw, 20 of them are
enrolled one after the other, each from 5 train clips, as `signet enroll` does it. Those that look like a known sign are
refused and counted: many signs look the same backwards. All val clips, and the val clips of the new signs backwards,
are then recognised among all 120 signs. Figures are saved in bench/results/enrolment_bundled.json.
"""

import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from bench.commands.enrolment import find_able_glosses, read_records, show_share
from bench.record import load_results, origin, save_results
from services.evaluator.enrolment.enrolment import EnrolmentResult, enrol
from services.evaluator.enrolment.examples import ExampleClip
from services.evaluator.serving.loaded_model import LoadedModel
from services.evaluator.serving.stored_version import StoredVersion
from signet import landmarks, pretrained
from signet.errors import InvalidInput
from signet.landmarks import ClipRecord, Landmarks, to_model_input
from signet.pretrained import ASL100
from signet.store import DirectoryStore, ObjectStore
from signet.store.options import StoreOption, open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import Console, open_console, print_line

RESULTS = Path("bench/results/enrolment_bundled.json")
EXAMPLES, NEW = 5, 20
# At least so many examples must be left when those that were refused are left out.
_LEAST_EXAMPLES = 3

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BundledDraw:
    """The figures of one draw of new signs."""

    draw: int
    model_version: str
    examples: int
    new_signs: int
    similar: int  # signs that were refused because they look like a known one
    disagreeing: int  # signs that were refused because too few examples agree
    left_out: int  # examples of the new signs that were refused
    new_clips: int
    new_correct: int
    old_clips: int
    old_correct: int
    old_correct_before: int
    median_seconds: float
    longest_seconds: float


def main(store: StoreOption = "", draws: Annotated[int, typer.Option(help="How many draws of new signs")] = 3) -> None:
    """Enrol, recognise, and save the figures."""
    opened = open_store_option(store, must_exist=True)
    for draw in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            figures = measure(opened, DirectoryStore(Path(folder)), draw)
        rows = {**load_results(RESULTS), f"draw {draw}": {**asdict(figures), **origin()}}
        save_results(RESULTS, dict(sorted(rows.items())))
    show(open_console())


def play_backwards(clip: Landmarks) -> Landmarks:
    """The clip from its end to its beginning."""
    times = clip.timestamps[-1] - clip.timestamps[::-1]
    return replace(
        clip,
        landmarks=clip.landmarks[::-1].copy(),
        presence=clip.presence[::-1].copy(),
        visibility=clip.visibility[::-1].copy(),
        timestamps=times.astype(np.float32),
    )


def measure(store: ObjectStore, own: DirectoryStore, draw: int) -> BundledDraw:
    """Enrol the new signs of a draw in the store `own`, and recognise the val clips."""
    records = read_records(store)
    seconds, left_out, similar, disagreeing = list[float](), 0, 0, 0
    enrolled: list[str] = []
    for gloss in np.random.default_rng(draw).permutation(find_able_glosses(records)).tolist():
        if len(enrolled) == NEW:
            break
        try:
            result, unused = enrol_backwards(store, own, records, gloss, draw)
        except InvalidInput as error:
            similar += "look like the sign" in str(error)
            disagreeing += "disagree" in str(error)
            continue
        enrolled.append(gloss)
        seconds.append(result.seconds)
        left_out += unused
    val = {key: record for key, record in records.items() if record.split == "val"}
    clips = {key: landmarks.load(store.get(key), key) for key in val}
    old = {key: to_model_input(clip) for key, clip in clips.items()}
    new = {key: to_model_input(play_backwards(clips[key])) for key, record in val.items() if record.gloss in enrolled}
    version = pretrained.read_bundled_card().version
    renewed = pretrained.find_current_version(own)
    truths = {key: record.gloss for key, record in val.items()}
    backwards = {key: name_backwards(truths[key]) for key in new}
    return BundledDraw(
        draw=draw, model_version=version, examples=EXAMPLES, new_signs=len(enrolled), similar=similar,
        disagreeing=disagreeing, left_out=left_out,
        new_clips=len(new), new_correct=count_correct(own, renewed, new, backwards),
        old_clips=len(old), old_correct=count_correct(own, renewed, old, truths),
        old_correct_before=count_correct(own, version, old, truths),
        median_seconds=round(statistics.median(seconds), 2), longest_seconds=round(max(seconds), 2),
    )  # fmt: skip


def enrol_backwards(
    store: ObjectStore, own: DirectoryStore, records: dict[str, ClipRecord], gloss: str, draw: int
) -> tuple[EnrolmentResult, int]:
    """Enrol a sign from train clips played backwards. Returns how many examples were refused and left out.

    Raises:
        InvalidInput: it looks like a known sign, or too few examples agree.
    """
    training = [key for key, record in sorted(records.items()) if record.gloss == gloss and record.split == "train"]
    chosen = np.random.default_rng(draw).permutation(len(training))[:EXAMPLES]
    given = [
        ExampleClip(key, landmarks.dump(play_backwards(landmarks.load(store.get(key), key))))
        for key in (training[place] for place in chosen)
    ]
    while True:
        try:
            return enrol(own, ASL100, name_backwards(gloss), given), EXAMPLES - len(given)
        except InvalidInput as error:
            named = [example for example in given if example.name in str(error)]
            if not named or len(given) == _LEAST_EXAMPLES:
                raise
            given = [example for example in given if example is not named[0]]


def name_backwards(gloss: str) -> str:
    """The name of a sign played backwards."""
    return f"{gloss} backwards"


def count_correct(store: ObjectStore, version: str, frames: dict[str, Frames], truths: dict[str, str]) -> int:
    """The clips whose most probable sign is the right one."""
    model = LoadedModel.from_stored(StoredVersion.read(store, ASL100, version), 1)
    decoded = model.decode_all(model.log_probs(list(frames.values())))
    guesses = (model.vocabulary[int(clip.posterior.argmax())] for clip in decoded)
    return sum(guess == truths[key] for key, guess in zip(frames, guesses, strict=True))


def show(console: Console) -> None:
    """Print the figures of all draws together."""
    rows = list(load_results(RESULTS).values())
    shares = [
        show_share(rows, *names)
        for names in (
            ("new_correct", "new_clips"),
            ("old_correct", "old_clips"),
            ("old_correct_before", "old_clips"),
        )
    ]
    print_line(console, f"{len(rows)} draws: new signs {shares[0]}, old signs {shares[1]}, before {shares[2]}")
    print_line(
        console,
        f"{max(row['median_seconds'] for row in rows):.1f} s a sign; refused: {sum(row['similar'] for row in rows)} "
        f"signs that look like a known one, {sum(row['disagreeing'] for row in rows)} whose examples disagree",
    )


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    raise SystemExit(run_command(lambda: app(standalone_mode=False)))
