"""The prefix beam search over a stream."""

import numpy as np
import numpy.typing as npt
import pytest

from signet.decoding import ContinuousDecoder, log_softmax
from signet.streaming.incremental_decoder import IncrementalDecoder


def random_log_probs(seed: int, frames: int, classes: int = 6, sharpness: float = 3.0) -> npt.NDArray[np.float64]:
    """Peaky log-probabilities, with the blank in most frames."""
    logits = sharpness * np.random.default_rng(seed).normal(size=(frames, classes))
    logits[:, 0] += sharpness
    return log_softmax(logits)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("piece", [1, 7, 300])
def test_without_a_limit_the_signs_are_those_of_the_offline_decoder(seed: int, piece: int) -> None:
    log_probs = random_log_probs(seed, 120)
    decoder = ContinuousDecoder(
        beam_width=1 + seed % 9,
        blank_penalty=0.5,
        insertion_penalty=0.5,
        repetition_penalty=1.0,
        undoubted=seed % 2 == 0,
    )
    search = IncrementalDecoder(decoder, 6, decide_after=10_000)
    found = []
    for start in range(0, 120, piece):
        found += search.advance(log_probs[start : start + piece])
    found += search.finish()
    assert tuple(decided.sign for decided in found) == decoder.decode(log_probs[None])[0]


@pytest.mark.parametrize("seed", range(10))
def test_pieces_do_not_matter_when_signs_are_decided_early(seed: int) -> None:
    log_probs = random_log_probs(seed, 200)
    results = []
    for piece in (1, 3, 200):
        search = IncrementalDecoder(ContinuousDecoder(insertion_penalty=1.0), 6, decide_after=4)
        found = []
        for start in range(0, 200, piece):
            found += search.advance(log_probs[start : start + piece])
        found += search.finish()
        results.append([(decided.sign, decided.first, decided.last) for decided in found])
    assert results[0] == results[1] == results[2]
    assert results[0]


def test_signs_are_decided_in_time_and_in_order() -> None:
    log_probs = random_log_probs(3, 300)
    search = IncrementalDecoder(ContinuousDecoder(insertion_penalty=1.0), 6, decide_after=5)
    before = -1
    for frame in range(300):
        for decided in search.advance(log_probs[frame : frame + 1]):
            assert before < decided.first <= decided.last <= frame - 5
            before = decided.last


def test_the_memory_of_a_long_search_is_bounded() -> None:
    search = IncrementalDecoder(ContinuousDecoder(insertion_penalty=1.0), 6, decide_after=5)
    sizes = []
    for seed in range(30):
        search.advance(random_log_probs(seed, 1000))
        sizes.append(search.held)
    assert max(sizes) < 400


def test_the_memory_is_bounded_if_no_sign_is_ever_decided() -> None:
    search = IncrementalDecoder(ContinuousDecoder(), 6, decide_after=10_000)
    flat = np.full((3000, 6), -np.log(6.0))
    search.advance(flat)
    assert search.held < 50_000
