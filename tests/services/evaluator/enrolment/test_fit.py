"""The fit separates new signs from old ones, and leaves the training's directions if there are none."""

import numpy as np
import numpy.typing as npt

from services.evaluator.enrolment import fit
from services.evaluator.enrolment.fit import fit_directions
from signet.sign_embeddings import SignEmbeddings, unit_vectors


def make_clusters(trained: int, enrolled: int, seed: int = 0) -> tuple[SignEmbeddings, SignEmbeddings]:
    """Embeddings of signs, five of each, to fit on; and others of the same signs."""
    random = np.random.default_rng(seed)
    centres = unit_vectors(random.standard_normal((trained + enrolled, 3, 16)))
    signs = np.repeat(np.arange(trained + enrolled), 5)

    def draw() -> SignEmbeddings:
        noise = 0.25 * random.standard_normal((len(signs), 3, 16))
        return SignEmbeddings(centres[:trained], unit_vectors(centres[signs] + noise), signs, 12.0)

    return draw(), draw()


def accuracy(directions: npt.NDArray[np.float32], embeddings: SignEmbeddings) -> float:
    found = np.einsum("mnd,cnd->mc", embeddings.vectors, directions).argmax(axis=1)
    return float((found == embeddings.signs).mean())


def test_new_and_old_signs_are_told_apart() -> None:
    kept, others = make_clusters(trained=20, enrolled=5)
    directions = fit_directions(kept, 25)
    assert directions.shape == (25, 3, 16)
    assert directions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0, atol=1e-5)
    assert accuracy(directions, others) > 0.95
    np.testing.assert_array_equal(directions, fit_directions(kept, 25))


def test_without_new_signs_the_directions_are_those_of_the_training() -> None:
    kept, _ = make_clusters(trained=4, enrolled=0)
    np.testing.assert_array_equal(fit_directions(kept, 4), kept.directions)


def test_of_many_old_signs_only_the_nearest_move() -> None:
    kept, others = make_clusters(trained=fit._MAX_MOVED + 40, enrolled=1)
    directions = fit_directions(kept, len(kept.directions) + 1)
    stayed = (directions[:-1] == kept.directions).all(axis=(1, 2))
    assert stayed.sum() == 40
    nearness = np.einsum("cnd,nd->c", kept.directions, directions[-1])
    assert nearness[stayed].max() <= nearness[~stayed].min() + 0.3
    assert accuracy(directions, others) > 0.9
