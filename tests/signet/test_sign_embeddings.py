"""The kept embeddings of signs: what is written is read again, and damaged files are refused with the reason."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from signet.errors import DataLoss
from signet.sign_embeddings import SignEmbeddings, clip_vector, dump_embeddings, load_embeddings, unit_vectors

RANDOM = np.random.default_rng(0)


def make(signs: int = 3, trained: int = 2) -> SignEmbeddings:
    return SignEmbeddings(
        directions=unit_vectors(RANDOM.standard_normal((trained, 4, 5))),
        vectors=unit_vectors(RANDOM.standard_normal((2 * signs, 4, 5))),
        signs=np.arange(2 * signs) % signs,
        logit_scale=12.0,
    )


def test_what_is_written_is_read_again_and_equal_embeddings_give_equal_bytes() -> None:
    given = make()
    data = dump_embeddings(given)
    found = load_embeddings(data, "m/1", 3)
    np.testing.assert_array_equal(found.directions, given.directions)
    np.testing.assert_allclose(found.vectors, given.vectors, atol=1e-3)
    np.testing.assert_array_equal(found.signs, given.signs)
    assert (found.trained, found.logit_scale) == (2, 12.0)
    assert dump_embeddings(found) == data


def test_files_that_hold_no_embeddings_are_refused_with_the_reason() -> None:
    given = make()
    data = dump_embeddings(given)
    tensors = load(data)
    for damaged, glosses, words in (
        (b"<html>", 3, "no embeddings"),
        (data[:-1], 3, "no embeddings"),
        (save(tensors), 3, "no embeddings"),
        (data, 2, "other signs than the 2 of the model"),
        (data, 1, "other signs than the 1 of the model"),
        (data, 4, "sign 3 has neither"),
        (dump_embeddings(replace(given, signs=given.signs[:-1])), 3, "do not fit"),
        (dump_embeddings(replace(given, vectors=given.vectors[:, :2])), 3, "do not fit"),
        (dump_embeddings(replace(given, vectors=2 * given.vectors)), 3, "length is not 1"),
        (dump_embeddings(replace(given, vectors=np.nan * given.vectors)), 3, "length is not 1"),
    ):
        with pytest.raises(DataLoss) as caught:
            load_embeddings(damaged, "m/1", glosses)
        assert "model m/1: embeddings.safetensors holds no embeddings" in str(caught.value)
        assert words in str(caught.value)


def test_the_vector_of_a_clip_is_that_of_the_frames_in_which_it_emits() -> None:
    frames = unit_vectors(RANDOM.standard_normal((6, 2, 3))).reshape(6, 6)
    log_probs = np.log(np.full((6, 3), [0.999999, 5e-7, 5e-7], np.float32))
    log_probs[4] = np.log([1e-6, 0.5, 0.5])
    vector = clip_vector(log_probs, frames, 2)
    np.testing.assert_allclose(vector, frames[4].reshape(2, 3), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=-1), 1.0, atol=1e-6)
