"""Variants of an example: other views of the same movement, with absent parts absent."""

import numpy as np

from services.evaluator.enrolment.augmentation import make_variant
from signet.landmarks import LEFT_HAND, RIGHT_HAND, SAMPLES_PER_FRAME, to_subframe_samples
from tests.services.evaluator.conftest import make_clip


def test_a_variant_is_a_model_input_of_about_the_same_length_in_which_absent_parts_stay_absent() -> None:
    samples = to_subframe_samples(make_clip("clip", "", 0.6, frames=90))
    flat = samples.reshape(-1, *samples.shape[2:])
    for seed in range(20):
        variant = make_variant(flat, SAMPLES_PER_FRAME, np.random.default_rng(seed))
        assert variant.dtype == np.float32
        assert variant.shape[1:] == (75, 3)
        assert 0.7 * len(samples) < len(variant) < 1.5 * len(samples)
        assert np.isnan(variant[:, RIGHT_HAND]).all()
        assert np.isfinite(variant[:, LEFT_HAND]).any()
        again = make_variant(flat, SAMPLES_PER_FRAME, np.random.default_rng(seed))
        np.testing.assert_array_equal(variant, again)


def test_a_clip_of_one_sample_has_variants() -> None:
    assert make_variant(np.zeros((1, 75, 3), np.float32), SAMPLES_PER_FRAME, np.random.default_rng(0)).shape[0] == 2
