"""The choice of the clips that a page shows frame by frame: examples of what the model gets right and wrong."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.trainer.inspection.posteriors import FramePosteriors, compute_posteriors
from services.trainer.inspection.run.predictions import ClipPrediction
from services.trainer.inspection.run.record import RunRecord, load_fold_models
from signet.errors import NotFound
from signet.store import ObjectStore

# A posterior on another machine, or from another version, may differ by this much from the stored one.
_ROUNDING = 0.01


@dataclass(frozen=True, eq=False)
class ChosenClip:
    """A clip on the page."""

    kind: str  # why it was chosen, in a few words
    prediction: ClipPrediction  # the stored predictions of all seeds
    posteriors: FramePosteriors  # the output of the model of one seed, computed now


@dataclass(frozen=True, eq=False)
class ClipChoice:
    """The clips on the page."""

    seed: int | None  # the seed whose models are shown; None if there are no clips
    clips: tuple[ChosenClip, ...]
    missing: str = ""  # why there are no clips, or a warning about them; "" for neither


def choose_clips(
    store: ObjectStore,
    record: RunRecord,
    predictions: Sequence[ClipPrediction],
    clips_per_kind: int,
    named: Sequence[str] = (),
    seed: int | None = None,
) -> ClipChoice:
    """Choose clips, and run the models that held them out on them.

    Args:
        store: holds the weights.
        record: the run.
        predictions: its predictions for held-out clips.
        clips_per_kind: the number of clips of each kind.
        named: clips to show in any case.
        seed: seed of the models; None for the first seed of the run.

    Raises:
        NotFound: a named clip was not held out, or there is no such seed.
    """
    if not predictions or record.held_out is None or record.dataset is None or record.config is None:
        _check_named(record, predictions, named)
        return ClipChoice(None, ())
    seeds = record.held_out.seeds
    if seed is not None and seed not in seeds:
        raise NotFound(f"run {record.run_id} has no seed {seed}; it has {', '.join(map(str, seeds))}.")
    seed = seeds[0] if seed is None else seed
    folds = {clip: member.fold for member in record.held_out.members if member.seed == seed for clip in member.clip_ids}
    candidates = [clip for clip in predictions if clip.clip_id in folds]
    _check_named(record, candidates, named)
    try:
        models = load_fold_models(store, record, seed)
    except NotFound as error:
        return ClipChoice(None, (), f"There are no alignment strips: {error}")

    clips, decoder = record.clips(), record.config.decoder
    chosen = []
    for prediction, kind in _choose_kinds(candidates, seed, clips_per_kind, named):
        model, clip = models.get(folds[prediction.clip_id]), clips.get(prediction.clip_id)
        if model is not None and clip is not None:
            frames = record.dataset.clip_frames(clip)
            posteriors = compute_posteriors(model, decoder, record.vocabulary, clip.clip_id, frames, prediction.truth)
            chosen.append(ChosenClip(kind, prediction, posteriors))
    return ClipChoice(seed, tuple(chosen), _warn_of_changes(chosen, seed))


def _choose_kinds(
    candidates: Sequence[ClipPrediction], seed: int, clips_per_kind: int, named: Sequence[str]
) -> list[tuple[ClipPrediction, str]]:
    """The clips to show, and why. Each clip is shown once."""

    def seed_correct(clip: ClipPrediction) -> bool:
        return clip.first_guesses[clip.seeds.index(seed)] == clip.label

    def right(clip: ClipPrediction) -> bool:
        return clip.correct and seed_correct(clip)

    def wrong(clip: ClipPrediction) -> bool:
        return not clip.correct and not seed_correct(clip)

    def greedy(clip: ClipPrediction) -> tuple[str, ...]:
        return clip.greedy[clip.seeds.index(seed)]

    # The name of each kind, the clips that belong to it, and their order.
    kinds: list[tuple[str, Callable[[ClipPrediction], bool], Callable[[ClipPrediction], float]]] = [
        ("right and sure", lambda clip: right(clip) and greedy(clip) == (clip.truth,), lambda clip: -clip.confidence),
        ("right and unsure", right, lambda clip: clip.confidence),
        ("wrong and sure", wrong, lambda clip: -clip.confidence),
        ("empty: the blank wins in every frame", lambda clip: not greedy(clip), lambda clip: -clip.confidence),
        ("more than one sign", lambda clip: len(greedy(clip)) > 1, lambda clip: -len(greedy(clip))),
    ]
    by_id = {clip.clip_id: clip for clip in candidates}
    chosen = {clip_id: (by_id[clip_id], "named by --clip") for clip_id in named}
    for kind, belongs, order in kinds:
        clips = sorted((clip for clip in candidates if belongs(clip) and clip.clip_id not in chosen), key=order)
        chosen |= {clip.clip_id: (clip, kind) for clip in clips[:clips_per_kind]}
    return list(chosen.values())


def _check_named(record: RunRecord, candidates: Sequence[ClipPrediction], named: Sequence[str]) -> None:
    absent = sorted(set(named) - {clip.clip_id for clip in candidates})
    if absent:
        examples = ", ".join(clip.clip_id for clip in candidates[:5])
        held_out = f"{len(candidates)} other clips, such as {examples}" if candidates else "no clips"
        raise NotFound(f"run {record.run_id} has not held out the clip {absent[0]!r}. It held out {held_out}.")


def _warn_of_changes(chosen: Sequence[ChosenClip], seed: int) -> str:
    """A warning if the models now prefer another gloss than at the end of the run."""
    changed = 0
    for clip in chosen:
        first_guess = clip.prediction.first_guesses[clip.prediction.seeds.index(seed)]
        posterior = clip.posteriors.posterior
        changed += posterior[first_guess - 1] < posterior.max() - _ROUNDING
    if not changed:
        return ""
    return (
        f"For {changed} of these {len(chosen)} clips the models now recognise another gloss than at the end of the "
        "run: this version of Signet computes features or decodes in another way than the version that trained it. The "
        "strips show the output of this version. The figures are those of the end of the run."
    )
