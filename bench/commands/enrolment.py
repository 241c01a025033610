"""How well signs are recognised that were enrolled from a few examples, and how well the trained signs still are.

    python -m bench.commands.enrolment --store URL      # the store has the corpus wlasl: WLASL100

In each draw, 20 of 100 glosses are new. A model of the other 80 is trained, and `signet enroll` adds the 20 one after
the other, each from examples of the training split. All val clips are then recognised among all 100 signs. Nothing is
chosen by val. Examples that enrolment refuses are left out one by one, as its messages advise;
signs that look like known ones are enrolled all the same. Figures are saved in bench/results/enrolment.json.
"""

import statistics
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from bench.record import load_results, origin, run_in_own_process, save_results
from services.evaluator.enrolment.enrolment import EnrolmentResult, enrol
from services.evaluator.enrolment.examples import ExampleClip
from services.evaluator.serving.loaded_model import LoadedModel
from services.trainer.config.train_config import TrainConfig
from services.trainer.runs.events import RunCallbacks
from services.trainer.runs.run import new_run_id, run
from services.trainer.runtime.threads import DEFAULT_THREADS, use_threads
from signet import landmarks, registry
from signet.datasets.corpus import list_clips
from signet.errors import InvalidInput, NotFound
from signet.landmarks import ClipRecord, to_model_input
from signet.statistics.intervals import wilson
from signet.store import DirectoryStore, ObjectStore
from signet.store.options import StoreOption, open_store_option
from signet.terminal.command import run_command
from signet.terminal.output import Console, open_console, print_line

RESULTS = Path("bench/results/enrolment.json")
CORPUS = "wlasl"
GLOSSES, NEW = 100, 20
_MOST_EXAMPLES = 5
_RECIPE = {
    "preset": "signs100", "branches": 4, "hidden_dim": 64, "hand_dim": 24, "max_glosses": 0, "seed": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Draw:
    """The figures of one draw of new glosses."""

    draw: int
    examples: int  # of each new sign
    new_clips: int
    new_correct: int
    old_clips: int
    old_correct: int
    old_correct_before: int
    left_out: int  # examples that were refused
    similar: int  # new signs that would have been refused because they look like a known one
    # Of one enrolment: the time on the clock, and that of the processor. The first is longer on a busy machine.
    median_seconds: float
    longest_seconds: float
    median_cpu_seconds: float
    longest_cpu_seconds: float


def main(
    store: StoreOption = "",
    work: Annotated[
        Path | None, typer.Option(help="Keep the trained models here, and use those that are there", show_default=False)
    ] = None,
    draws: Annotated[int, typer.Option(help="How many draws of new glosses")] = 3,
    examples: Annotated[
        str, typer.Option("--examples", help="Examples of each new sign, separated by commas")
    ] = "5,3,1",
) -> None:
    """Train, enrol, recognise, and save the figures."""
    console = open_console()
    opened = open_store_option(store, must_exist=True)
    with tempfile.TemporaryDirectory() as folder:
        root = work or Path(folder)
        for draw in range(draws):
            new = choose_new_glosses(read_records(opened), draw)
            trained = DirectoryStore(make_folder(root / f"draw{draw}"))
            base = train_base(opened, trained, new)
            for count in map(int, examples.split(",")):
                figures = measure(opened, trained, base, new, draw, count)
                rows = {**load_results(RESULTS), f"{count} examples, draw {draw}": {**asdict(figures), **origin()}}
                save_results(RESULTS, dict(sorted(rows.items())))
    show(console)


def make_folder(path: Path) -> Path:
    """The folder, which is made if it does not exist."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def read_records(store: ObjectStore) -> dict[str, ClipRecord]:
    """The records of all clips of the corpus, by key.

    Raises:
        NotFound: the store lacks the corpus.
    """
    records = {info.key: landmarks.read_record(store.get(info.key), info.key) for info in list_clips(store, CORPUS)}
    if len({record.gloss for record in records.values()}) < GLOSSES:
        raise NotFound(
            f"{store.url}: the corpus {CORPUS!r} has less than {GLOSSES} glosses. `signet extract` makes it."
        )
    return records


def choose_new_glosses(records: dict[str, ClipRecord], draw: int) -> list[str]:
    """Glosses that can be new ones, drawn at random."""
    return sorted(np.random.default_rng(draw).choice(find_able_glosses(records), NEW, replace=False).tolist())


def find_able_glosses(records: dict[str, ClipRecord]) -> list[str]:
    """Glosses with at least five training clips and a val clip."""
    training = Counter(record.gloss for record in records.values() if record.split == "train")
    val = Counter(record.gloss for record in records.values() if record.split == "val")
    return [gloss for gloss in sorted(training) if training[gloss] >= _MOST_EXAMPLES and val[gloss]]


def train_base(store: ObjectStore, trained: DirectoryStore, new: list[str]) -> str:
    """Train a model of the other glosses, unless the folder has one. Returns its version."""
    versions = registry.versions(trained, "signet")
    if versions:
        return versions[0]
    for key, record in read_records(store).items():
        if record.gloss not in new:
            trained.put(key, store.get(key))
    run_in_own_process(_train, trained.url)
    return registry.resolve(trained, "signet", registry.LATEST)


def _train(url: str) -> None:
    use_threads(DEFAULT_THREADS)
    run(open_store_option(url), TrainConfig.model_validate(_RECIPE), new_run_id(), RunCallbacks())


def measure(store: ObjectStore, trained: DirectoryStore, base: str, new: list[str], draw: int, examples: int) -> Draw:
    """Enrol all new signs, and recognise the val clips of all signs."""
    records = read_records(store)
    registry.promote(trained, "signet", base, registry.LATEST)
    seconds, cpu_seconds, left_out, similar = list[float](), list[float](), 0, 0
    for gloss in new:
        given = choose_examples(store, records, gloss, draw, examples)
        started = time.process_time()
        result, unused = enrol_sign(trained, gloss, given)
        cpu_seconds.append(time.process_time() - started)
        left_out += unused
        seconds.append(result.seconds)
        similar += any("look like" in warning for warning in result.warnings)
    val = {key: record for key, record in records.items() if record.split == "val"}
    frames = {key: to_model_input(landmarks.load(store.get(key), key)) for key in val}
    found = {version: recognise(trained, version, frames) for version in (base, result.card.version)}
    correct = {
        version: [key for key, record in val.items() if guesses[key] == record.gloss]
        for version, guesses in found.items()
    }
    old = [key for key, record in val.items() if record.gloss not in new]
    after = set(correct[result.card.version])
    return Draw(
        draw=draw, examples=examples,
        new_clips=len(val) - len(old), new_correct=len(after - set(old)),
        old_clips=len(old), old_correct=len(after & set(old)), old_correct_before=len(correct[base]),
        left_out=left_out, similar=similar,
        median_seconds=round(statistics.median(seconds), 2), longest_seconds=round(max(seconds), 2),
        median_cpu_seconds=round(statistics.median(cpu_seconds), 2), longest_cpu_seconds=round(max(cpu_seconds), 2),
    )  # fmt: skip


def enrol_sign(trained: DirectoryStore, gloss: str, given: list[ExampleClip]) -> tuple[EnrolmentResult, int]:
    """Enrol a sign. Returns how many examples were refused and left out."""
    left_out = 0
    while True:
        try:
            return enrol(trained, "signet", gloss, given, allow_similar=True), left_out
        except InvalidInput as error:
            message = f" {error}"
            named = [one for one in given if f" {one.name} " in message or f" {one.name}:" in message]
            if not named:
                raise
            given = [example for example in given if example is not named[0]]
            left_out += 1


def choose_examples(
    store: ObjectStore, records: dict[str, ClipRecord], gloss: str, draw: int, count: int
) -> list[ExampleClip]:
    """Training clips of a gloss. Of more examples, the first are the same."""
    training = [key for key, record in sorted(records.items()) if record.gloss == gloss and record.split == "train"]
    chosen = np.random.default_rng(draw).permutation(len(training))[:count]
    return [ExampleClip(records[training[place]].clip_id, store.get(training[place])) for place in chosen]


def recognise(store: ObjectStore, version: str, frames: dict[str, npt.NDArray[np.float32]]) -> dict[str, str]:
    """The most probable gloss of each clip."""
    model = LoadedModel.load(store, "signet", version, 1)
    decoded = model.decode_all(model.log_probs(list(frames.values())))
    return {key: model.vocabulary[int(clip.posterior.argmax())] for key, clip in zip(frames, decoded, strict=True)}


def show(console: Console) -> None:
    """Print the figures of all draws together."""
    rows = load_results(RESULTS).values()
    for examples in sorted({row["examples"] for row in rows}, reverse=True):
        drawn = [row for row in rows if row["examples"] == examples]
        print_line(
            console,
            f"{examples} examples, {len(drawn)} draws: new signs {show_share(drawn, 'new_correct', 'new_clips')}, old "
            f"signs {show_share(drawn, 'old_correct', 'old_clips')}, before "
            f"{show_share(drawn, 'old_correct_before', 'old_clips')}; "
            f"{max(row['median_seconds'] for row in drawn):.1f} s a sign, "
            f"{max(row['median_cpu_seconds'] for row in drawn):.1f} s of a core",
        )


def show_share(rows: list[dict[str, Any]], correct: str, clips: str) -> str:
    """A share of all draws together, with its interval, and that of each draw."""
    right, total = sum(row[correct] for row in rows), sum(row[clips] for row in rows)
    low, high = wilson(right, total)
    each = ", ".join(f"{100 * row[correct] / row[clips]:.0f}" for row in rows)
    return f"{100 * right / total:.1f} % ({100 * low:.0f} to {100 * high:.0f}; draws {each}; n = {total})"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    raise SystemExit(run_command(lambda: app(standalone_mode=False)))
