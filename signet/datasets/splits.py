"""Signer-grouped cross-validation: each clip is held out once, from a model that was trained without its signer.

WLASL's official split is not signer-independent, and its val split is small. Folds that keep each signer together
measure how a model does with signers that it has not seen, and every clip counts. Duplicates (clips of one recording)
stay together too, even if the archive names different signers for them.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from signet.datasets.groups import merge_groups
from signet.datasets.snapshot import DatasetClip
from signet.errors import InvalidInput

# If all clips of a gloss are in one fold, no model can recognise it there. Avoiding this is worth more than any
# imbalance that real folds show.
_LOST_WEIGHT = 1e6
# The weight of squared imbalance between the sizes of folds, relative to that within each gloss.
_SIZE_WEIGHT = 1.0

_MAX_PASSES = 50
# Changes of the cost that are smaller than this are rounding errors.
_MIN_GAIN = 1e-9


def signer_folds(
    clips: Sequence[DatasetClip], folds: int, together: Iterable[Sequence[str]] = ()
) -> tuple[frozenset[str], ...]:
    """Divide clips into folds, so that no signer and no group of duplicates is in two folds.

    A bundle is all clips of a signer, joined with those of other signers if duplicates connect them. Bundles are
    dealt to folds, the largest first, each to the fold where it costs least. Then single bundles are moved, and pairs
    exchanged, as long as this lowers the cost. The cost counts first the glosses with all their clips in one fold,
    then the sum over folds f of (n_f - n/F)^2 plus the sum over folds and glosses g of (n_fg - n_g/F)^2. The same
    clips give the same folds, in any order.

    Args:
        clips: the clips, usually those of train and val. A clip of an unknown signer ("") is a bundle of its own.
        folds: the number of folds, F; at least 2.
        together: groups of ids of clips that must be in one fold; ids that are not among `clips` are ignored.

    Returns:
        For each fold, the ids of the clips that are held out in it; each id is in exactly one.

    Raises:
        InvalidInput: fewer than two folds, or fewer bundles than folds.
    """
    if folds < 2:
        raise InvalidInput(f"{folds} folds: cross-validation needs at least 2. Take 5, or leave the folds out.")
    bundles = _bundles(clips, together)
    if len(bundles) < folds:
        raise InvalidInput(
            f"{folds} folds of {len(clips)} clips: they have only {len(bundles)} signers (signers with duplicates in "
            "common count as one), and each fold needs its own. Take fewer folds, or more clips."
        )
    glosses = {gloss: index for index, gloss in enumerate(sorted({clip.gloss for clip in clips}))}
    counts = np.zeros((len(bundles), len(glosses)))
    for row, bundle in zip(counts, bundles, strict=True):
        for clip in bundle:
            row[glosses[clip.gloss]] += 1
    fold_of_bundle = _Assignment(counts, folds).optimise()
    held_out: list[set[str]] = [set() for _ in range(folds)]
    for bundle, fold in zip(bundles, fold_of_bundle, strict=True):
        held_out[fold].update(clip.clip_id for clip in bundle)
    return tuple(map(frozenset, held_out))


def _bundles(clips: Sequence[DatasetClip], together: Iterable[Sequence[str]]) -> list[list[DatasetClip]]:
    """The groups of clips that must be in one fold, the largest first."""
    by_id = {clip.clip_id: clip for clip in clips}
    by_signer: dict[str, list[str]] = {}
    for clip in clips:
        if clip.signer:
            by_signer.setdefault(clip.signer, []).append(clip.clip_id)
    present = ([clip_id for clip_id in group if clip_id in by_id] for group in together)
    merged = merge_groups([*by_signer.values(), *present])
    single = by_id.keys() - {clip_id for group in merged for clip_id in group}
    bundles = [[by_id[clip_id] for clip_id in group] for group in [*merged, *([clip_id] for clip_id in single)]]
    return sorted(bundles, key=lambda bundle: (-len(bundle), bundle[0].clip_id))


class _Assignment:
    """Bundles on folds, and the cost of this assignment.

    `counts`, [bundles, glosses], are the clips of each gloss in each bundle, the largest bundle first.
    """

    def __init__(self, counts: npt.NDArray[np.float64], folds: int) -> None:
        self._counts = counts
        self._totals = counts.sum(axis=0)
        # Clips of each gloss in each fold.
        self._held = np.zeros((folds, counts.shape[1]))
        self._folds = folds

    def optimise(self) -> list[int]:
        """The fold of each bundle."""
        place: list[int] = []
        for row, bundle in enumerate(self._counts):
            # The last bundles fill the folds that are still empty.
            empty = [fold for fold in range(self._folds) if fold not in place]
            open_folds = empty if len(self._counts) - row <= len(empty) else range(self._folds)
            place.append(min(open_folds, key=lambda fold: self._change(fold, bundle)))
            self._held[place[-1]] += bundle
        for _ in range(_MAX_PASSES):
            if not (self._move(place) | self._exchange(place)):
                break
        return place

    def _cost(self, held: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The cost of each fold: [folds] of counts [folds, glosses]."""
        size = (held.sum(axis=-1) - self._totals.sum() / self._folds) ** 2
        gloss = ((held - self._totals / self._folds) ** 2).sum(axis=-1)
        lost = (held == self._totals).sum(axis=-1)
        return np.asarray(_SIZE_WEIGHT * size + gloss + _LOST_WEIGHT * lost)

    def _change(self, fold: int, added: npt.NDArray[np.float64]) -> float:
        before, after = self._cost(np.stack([self._held[fold], self._held[fold] + added]))
        return float(after - before)

    def _move(self, place: list[int]) -> bool:
        """Move single bundles to better folds; True if at least one was moved.

        No fold becomes empty: moving its last bundle b to a fold with h clips changes the cost by at least 2·h·|b| > 0.
        """
        moved = False
        for row, bundle in enumerate(self._counts):
            source = place[row]
            leaving = self._change(source, -bundle)
            others = (fold for fold in range(self._folds) if fold != source)
            target = min(others, key=lambda fold: self._change(fold, bundle))
            if leaving + self._change(target, bundle) < -_MIN_GAIN:
                self._held[source] -= bundle
                self._held[target] += bundle
                place[row] = target
                moved = True
        return moved

    def _exchange(self, place: list[int]) -> bool:
        """Exchange pairs of bundles between folds; True if at least one pair was exchanged."""
        exchanged = False
        for row in range(len(place)):
            others = np.array([other for other in range(row + 1, len(place)) if place[other] != place[row]], int)
            if not len(others):
                continue
            their_folds = np.array(place)[others]
            coming = self._counts[others] - self._counts[row]
            base = self._cost(self._held)
            change = self._cost(self._held[place[row]] + coming) - base[place[row]]
            change += self._cost(self._held[their_folds] - coming) - base[their_folds]
            best = int(change.argmin())
            if change[best] < -_MIN_GAIN:
                self._held[place[row]] += coming[best]
                self._held[their_folds[best]] -= coming[best]
                other = int(others[best])
                place[row], place[other] = place[other], place[row]
                exchanged = True
        return exchanged
