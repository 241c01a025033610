"""Signer-grouped cross-validation: every clip is held out once, from a model that never saw its signer.

WLASL's official split is not signer-independent, and its val split is small. Folds that keep a signer together say how
a model does with people whom it has not seen, and every clip counts. Twins, the same recording stored twice, stay
together too, whatever signer the archive names for each.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from signet.datasets.snapshot import DatasetClip
from signet.errors import InvalidInput

# A gloss with all its clips in one fold cannot be recognised there, whatever the model: to avoid one is worth any
# imbalance of the other kinds that real folds show.
_LOST_WEIGHT = 1e6
# Squared clips of imbalance between whole folds, against those within each gloss.
_SIZE_WEIGHT = 1.0

_MAX_PASSES = 50


def signer_folds(
    clips: Sequence[DatasetClip], folds: int, together: Iterable[Sequence[str]] = ()
) -> tuple[frozenset[str], ...]:
    """Divide clips into folds that no signer and no group of twins stands astride.

    Bundles (all clips of a signer, joined with those of another if twins connect the two) are dealt largest first, each
    to the fold where it disturbs least, and then moved and exchanged as long as that helps. What is minimised is, in
    this order: glosses with all their clips in one fold; then the sum over folds f of (n_f - n/F)^2 plus that over
    glosses g of (n_fg - n_g/F)^2. The same clips give the same folds, in whatever order they come.

    Args:
        clips: the clips, usually those of train and val. One whose signer is not known ("") is a bundle of its own.
        folds: how many, F; at least 2.
        together: groups of ids of clips that must not be parted; ids that are not among `clips` are passed over.

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
            f"{folds} folds of {len(clips)} clips: they have only {len(bundles)} signers (twins count their signers "
            "as one), and every fold needs one of its own. Take fewer folds, or more clips."
        )
    glosses = {gloss: index for index, gloss in enumerate(sorted({clip.gloss for clip in clips}))}
    counts = np.zeros((len(bundles), len(glosses)))
    for row, bundle in zip(counts, bundles, strict=True):
        for clip in bundle:
            row[glosses[clip.gloss]] += 1
    place = _Deal(counts, folds).settle()
    return tuple(
        frozenset(clip.clip_id for bundle, fold in zip(bundles, place, strict=True) if fold == one for clip in bundle)
        for one in range(folds)
    )


def untrained(clips: Sequence[DatasetClip], held_out: frozenset[str]) -> tuple[str, ...]:
    """The glosses, sorted, all of whose clips are held out: a model of this fold has none to learn them from."""
    trained = {clip.gloss for clip in clips if clip.clip_id not in held_out}
    return tuple(sorted({clip.gloss for clip in clips} - trained))


def _bundles(clips: Sequence[DatasetClip], together: Iterable[Sequence[str]]) -> list[list[DatasetClip]]:
    """Clips that must stay together, the largest bundle first, by union-find."""
    parent = {clip.clip_id: clip.clip_id for clip in clips}

    def root(clip_id: str) -> str:
        while parent[clip_id] != clip_id:
            parent[clip_id] = parent[parent[clip_id]]
            clip_id = parent[clip_id]
        return clip_id

    by_signer: dict[str, list[str]] = {}
    for clip in clips:
        if clip.signer:
            by_signer.setdefault(clip.signer, []).append(clip.clip_id)
    for group in [*by_signer.values(), *together]:
        present = [clip_id for clip_id in group if clip_id in parent]
        for clip_id in present[1:]:
            parent[root(clip_id)] = root(present[0])

    gathered: dict[str, list[DatasetClip]] = {}
    for clip in sorted(clips, key=lambda clip: clip.clip_id):
        gathered.setdefault(root(clip.clip_id), []).append(clip)
    return sorted(gathered.values(), key=lambda bundle: (-len(bundle), bundle[0].clip_id))


class _Deal:
    """Bundles on folds, and what is wrong with that.

    Args:
        counts: [bundles, glosses], clips of each gloss in each bundle, the largest bundle first.
        folds: how many folds.
    """

    def __init__(self, counts: npt.NDArray[np.float64], folds: int) -> None:
        self._counts = counts
        self._totals = counts.sum(axis=0)
        self._held = np.zeros((folds, counts.shape[1]))
        self._folds = folds

    def settle(self) -> list[int]:
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
        """Each fold's cost: [folds] of counts [folds, glosses]."""
        size = (held.sum(axis=-1) - self._totals.sum() / self._folds) ** 2
        gloss = ((held - self._totals / self._folds) ** 2).sum(axis=-1)
        lost = (held == self._totals).sum(axis=-1)
        return np.asarray(_SIZE_WEIGHT * size + gloss + _LOST_WEIGHT * lost)

    def _change(self, fold: int, added: npt.NDArray[np.float64]) -> float:
        before, after = self._cost(np.stack([self._held[fold], self._held[fold] + added]))
        return float(after - before)

    def _move(self, place: list[int]) -> bool:
        """Move single bundles to better folds; True if one was."""
        moved = False
        for row, bundle in enumerate(self._counts):
            here = place[row]
            if place.count(here) == 1:
                continue  # the last of its fold: no fold may be empty
            leaving = self._change(here, -bundle)
            there = min(
                (fold for fold in range(self._folds) if fold != here), key=lambda fold: self._change(fold, bundle)
            )
            if leaving + self._change(there, bundle) < -1e-9:
                self._held[here] -= bundle
                self._held[there] += bundle
                place[row] = there
                moved = True
        return moved

    def _exchange(self, place: list[int]) -> bool:
        """Exchange pairs of bundles between folds; True if one was."""
        exchanged = False
        for row in range(len(place)):
            others = np.array([other for other in range(row + 1, len(place)) if place[other] != place[row]], int)
            if not len(others):
                continue
            theirs = np.array(place)[others]
            coming = self._counts[others] - self._counts[row]
            base = self._cost(self._held)
            change = self._cost(self._held[place[row]] + coming) - base[place[row]]
            change += self._cost(self._held[theirs] - coming) - base[theirs]
            best = int(change.argmin())
            if change[best] < -1e-9:
                self._held[place[row]] += coming[best]
                self._held[theirs[best]] -= coming[best]
                other = int(others[best])
                place[row], place[other] = place[other], place[row]
                exchanged = True
        return exchanged
