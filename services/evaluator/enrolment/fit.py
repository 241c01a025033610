"""The directions of enrolled signs: fitted together with those of the trained signs, by a few gradient steps in numpy.

The first guess for a new sign is the mean embedding of its examples (Gidaris and Komodakis 2018). By it alone, new
signs take many clips of the old ones. So all directions move together for some steps of Adam (Kingma and Ba 2015),
which lower the cross-entropy of the kept embeddings of the old signs and of the examples of the new ones:

    L = Σ over signs c of weight(c) · mean over vectors x of c, mean over branches of −log softmax_c(s · cos(x, w))

Each branch has its own loss, as in training. The weight of the new signs balances old against new: the lower it is, the
fewer clips of old signs are taken for new ones. It was chosen on signs of the training split (docs/experiments.md).

The fit starts from the directions of the training whenever signs are enrolled or forgotten, so the order of enrolments
makes no difference, and forgetting every enrolled sign gives back the trained model.
"""

import numpy as np
import numpy.typing as npt

from signet.sign_embeddings import SignEmbeddings, unit_vectors

_STEPS = 60
_STEP_SIZE = 0.02
_FIRST_MOMENT, _SECOND_MOMENT = 0.9, 0.99
# The weight of a new sign, where that of an old one is 1.
_NEW_WEIGHT = 0.7
# So many old signs move at most: those that are nearest to the new ones. With 2,000 signs, all would take a minute.
_MAX_MOVED = 200

Floats = npt.NDArray[np.float32]


def fit_directions(kept: SignEmbeddings, glosses: int) -> Floats:
    """The directions of all signs: unit vectors float32 [C, N, D].

    Args:
        kept: embeddings of the trained signs and, after them, of the enrolled ones, each with at least one vector.
        glosses: C, the number of trained and enrolled signs.
    """
    if glosses == kept.trained:
        return kept.directions
    first = np.array([_mean_direction(kept, sign) for sign in range(kept.trained, glosses)])
    directions: Floats = np.concatenate([kept.directions, first]).astype(np.float32)
    moved = _choose_moved(directions, kept.trained)
    position = np.full(glosses, -1)
    position[moved] = np.arange(len(moved))
    used = position[kept.signs] >= 0
    vectors, signs = kept.vectors[used], position[kept.signs[used]]
    weights = np.where(moved[signs] < kept.trained, 1.0, _NEW_WEIGHT) / np.bincount(signs)[signs]
    directions[moved] = _descend(directions[moved], vectors, signs, weights, kept.logit_scale)
    return directions


def _mean_direction(kept: SignEmbeddings, sign: int) -> Floats:
    return unit_vectors(kept.vectors[kept.signs == sign].mean(axis=0))


def _choose_moved(directions: Floats, trained: int) -> npt.NDArray[np.int64]:
    """The signs that take part in the fit: the enrolled ones, and the trained ones that are nearest to them."""
    flat = directions.reshape(len(directions), -1)
    nearness = (flat[:trained] @ flat[trained:].T).max(axis=1)
    nearest = np.sort(np.argsort(-nearness, kind="stable")[:_MAX_MOVED])
    return np.concatenate([nearest, np.arange(trained, len(directions))])


def _descend(
    directions: Floats,
    vectors: Floats,
    signs: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    logit_scale: float,
) -> Floats:
    """Steps of Adam on the directions [C, N, D], which are normalised after each.

    The vectors are [M, N, D], their signs and weights [M].
    """
    scale = np.float32(logit_scale)
    x = np.ascontiguousarray(vectors.transpose(1, 0, 2))
    w = np.ascontiguousarray(directions.transpose(1, 0, 2))
    shares = (weights / weights.sum()).astype(np.float32)[:, None]
    target = np.eye(len(directions), dtype=np.float32)[signs]
    first, second = np.zeros_like(w), np.zeros_like(w)
    for step in range(1, _STEPS + 1):
        logits = scale * (x @ w.transpose(0, 2, 1))
        logits -= logits.max(axis=-1, keepdims=True)
        probabilities = np.exp(logits, out=logits)
        probabilities /= probabilities.sum(axis=-1, keepdims=True)
        gradient = scale * ((shares * (probabilities - target)).transpose(0, 2, 1) @ x)
        gradient -= (gradient * w).sum(axis=-1, keepdims=True) * w
        first = _FIRST_MOMENT * first + (1 - _FIRST_MOMENT) * gradient
        second = _SECOND_MOMENT * second + (1 - _SECOND_MOMENT) * gradient**2
        change = (first / (1 - _FIRST_MOMENT**step)) / (np.sqrt(second / (1 - _SECOND_MOMENT**step)) + 1e-8)
        w = unit_vectors(w - np.float32(_STEP_SIZE) * change)
    return w.transpose(1, 0, 2)
