"""Which clips are looked at frame by frame: a few that show what a model does well, what badly, and how."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.trainer.drawing.posteriors import Reading, read
from services.trainer.inspection.run.predictions import ClipAnswer
from services.trainer.inspection.run.record import Record, models
from signet.errors import NotFound
from signet.store import ObjectStore


@dataclass(frozen=True, eq=False)
class Chosen:
    """A clip, why it is shown, and what one seed's model says of it.

    Attributes:
        kind: why, in a few words.
        answer: what the seeds said of it.
        reading: what this model says, frame by frame.
    """

    kind: str
    answer: ClipAnswer
    reading: Reading


@dataclass(frozen=True, eq=False)
class Strips:
    """The clips that are shown.

    Attributes:
        seed: whose model it is; -1 where nothing is shown.
        chosen: the clips.
        missing: why there are none, or what is to be known of them; "" if nothing.
    """

    seed: int
    chosen: tuple[Chosen, ...]
    missing: str = ""


def look(
    store: ObjectStore,
    record: Record,
    answers: Sequence[ClipAnswer],
    each: int = 2,
    named: Sequence[str] = (),
    seed: int | None = None,
) -> Strips:
    """Choose clips, and read them with the models that held them out.

    Args:
        store: holds the weights.
        record: the run.
        answers: what its seeds said of their held-out clips.
        each: clips of each kind.
        named: clips that are shown whatever they are.
        seed: whose models; the first that the run has unless given.

    Raises:
        NotFound: a named clip is not among the held-out ones, or there is no such seed.
    """
    if not answers or record.held_out is None or record.dataset is None or record.config is None:
        _all_held_out(record, answers, named)
        return Strips(-1, ())
    seeds = record.held_out.seeds
    if seed is not None and seed not in seeds:
        raise NotFound(f"run {record.run_id} has no seed {seed}; it has {', '.join(map(str, seeds))}.")
    seed = seeds[0] if seed is None else seed
    asked = {clip: member.fold for member in record.held_out.members if member.seed == seed for clip in member.clip_ids}
    there = [answer for answer in answers if answer.clip_id in asked]
    _all_held_out(record, there, named)
    kinds = _kinds(there, seed, each, named)
    try:
        of_fold = models(store, record, seed)
    except NotFound as error:
        return Strips(-1, (), f"There are no alignment strips: {error}")

    clips, decoder = record.clips(), record.config.decoder
    chosen = []
    for answer, kind in kinds:
        model, clip = of_fold.get(asked[answer.clip_id]), clips.get(answer.clip_id)
        if model is not None and clip is not None:
            frames = record.dataset.clip_frames(clip)
            reading = read(model, decoder, record.vocabulary, clip.clip_id, frames, answer.truth)
            chosen.append(Chosen(kind, answer, reading))
    return Strips(seed, tuple(chosen), _disagreement(chosen, seed))


def _kinds(answers: Sequence[ClipAnswer], seed: int, each: int, named: Sequence[str]) -> list[tuple[ClipAnswer, str]]:
    """The clips to show, and why each is shown; none twice."""

    def of_seed(answer: ClipAnswer) -> int:
        return answer.seeds.index(seed)

    def right(answer: ClipAnswer) -> bool:
        return answer.correct and answer.firsts[of_seed(answer)] == answer.label

    def wrong(answer: ClipAnswer) -> bool:
        return not answer.correct and answer.firsts[of_seed(answer)] != answer.label

    def greedy(answer: ClipAnswer) -> tuple[str, ...]:
        return answer.greedy[of_seed(answer)]

    kinds: list[tuple[str, Callable[[ClipAnswer], bool], Callable[[ClipAnswer], float]]] = [
        ("right and sure", lambda one: right(one) and greedy(one) == (one.truth,), lambda one: -one.confidence),
        ("right and unsure", right, lambda one: one.confidence),
        ("wrong and sure", wrong, lambda one: -one.confidence),
        ("empty: no frame prefers a sign to the blank", lambda one: not greedy(one), lambda one: -one.confidence),
        ("more than one sign", lambda one: len(greedy(one)) > 1, lambda one: -len(greedy(one))),
    ]
    by_id = {answer.clip_id: answer for answer in answers}
    taken = {clip_id: (by_id[clip_id], "asked for") for clip_id in named}
    for kind, belongs, rank in kinds:
        some = sorted((one for one in answers if belongs(one) and one.clip_id not in taken), key=rank)
        taken.update({one.clip_id: (one, kind) for one in some[:each]})
    return list(taken.values())


def _all_held_out(record: Record, answers: Sequence[ClipAnswer], named: Sequence[str]) -> None:
    absent = sorted(set(named) - {answer.clip_id for answer in answers})
    if absent:
        some = ", ".join(answer.clip_id for answer in answers[:5])
        raise NotFound(
            f"run {record.run_id} has not held out the clip {absent[0]!r}; it has held out "
            f"{f'{len(answers)} others, such as {some}' if answers else 'none'}."
        )


# What the same weights may say otherwise of a clip, on another machine or in another version.
_ROUNDING = 0.01


def _disagreement(chosen: Sequence[Chosen], seed: int) -> str:
    """Whether these models still say what they said at the end of the run."""
    off = 0
    for one in chosen:
        first = one.answer.firsts[one.answer.seeds.index(seed)]
        posterior = one.reading.posterior
        off += posterior[first - 1] < posterior.max() - _ROUNDING
    if not off:
        return ""
    return (
        f"Of {off} of these {len(chosen)} clips the models say something else now than at the end of the run: this "
        "version of Signet measures or decodes otherwise than the one that trained it. The strips show what it does "
        "now, the figures above what it did then."
    )
