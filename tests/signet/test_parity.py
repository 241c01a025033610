"""The file of a parity vector: it is read as it was written, and nothing else is read."""

import numpy as np
import pytest
from safetensors.numpy import save

from signet.errors import DataLoss
from signet.parity import ParityVector, dump_parity, largest_difference, load_parity


def vector(frames: tuple[int, ...] = (1, 7), difference: float = 2e-5) -> ParityVector:
    made = np.random.default_rng(0)
    landmarks = [made.standard_normal((count, 75, 3)).astype(np.float32) for count in frames]
    landmarks[0][0, 40:] = np.nan
    log_probs = [made.standard_normal((count, 4)).astype(np.float32) for count in frames]
    return ParityVector(tuple(landmarks), tuple(log_probs), difference)


def test_a_parity_vector_is_read_as_it_was_written() -> None:
    given = vector()
    read = load_parity(dump_parity(given), "m/1")
    for expected, found in zip(given.landmarks + given.log_probs, read.landmarks + read.log_probs, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert read.difference == 2e-5


@pytest.mark.parametrize(("difference", "tolerance"), [(0.0, 1e-3), (1e-5, 1e-3), (1e-3, 1e-2)])
def test_ten_times_the_difference_of_the_export_is_rounding(difference: float, tolerance: float) -> None:
    assert vector(difference=difference).tolerance == pytest.approx(tolerance)


def test_the_largest_difference_is_found_and_no_answer_hides_behind_nan() -> None:
    expected = [np.array([[-1.0, -2.0]], np.float32), np.array([[-3.0, -np.inf]], np.float32)]
    near = [expected[0] + np.float32(0.25), expected[1]]
    assert largest_difference(expected, expected) == 0
    assert largest_difference(near, expected) == 0.25
    assert largest_difference([expected[0], expected[1] * np.nan], expected) == np.inf
    assert largest_difference([expected[0], np.array([[-3.0, -4.0]], np.float32)], expected) == np.inf
    assert largest_difference(expected[:1], expected) == np.inf
    assert largest_difference([expected[0], expected[1][:, :1]], expected) == np.inf


def test_other_bytes_are_refused_with_the_name_of_the_model() -> None:
    whole = dump_parity(vector())
    landmarks, answers = np.zeros((2, 75, 3), np.float32), np.zeros((2, 4), np.float32)
    header = '{"schema": "signet.parity/1", "inputs": 1, "difference": 0}'

    def file(record: str = header, **tensors: np.ndarray) -> bytes:  # type: ignore[type-arg]
        made = {"0.landmarks": landmarks, "0.log_probs": answers}
        return bytes(save({**made, **{f"0.{name}": tensor for name, tensor in tensors.items()}}, {"signet": record}))

    assert load_parity(file(), "m/1").difference == 0
    for data in (
        b"",
        b"<html>404</html>",
        whole[:-1],
        save({"x": landmarks}),
        file('{"schema": "signet.parity/2", "inputs": 1, "difference": 0}'),
        file(header.replace("1,", "2,")),
        file(header.replace("1,", "1000000,")),
        file(header.replace("0}", "NaN}")),
        file(header.replace("0}", "5}")),
        file(landmarks=landmarks.astype(np.float64)),
        file(landmarks=landmarks[..., :2].copy()),
        file(log_probs=answers[:1]),
        file(log_probs=answers[0]),
        file(landmarks=np.zeros((300, 75, 3), np.float32), log_probs=np.zeros((300, 4), np.float32)),
        file(landmarks=landmarks[:0], log_probs=answers[:0]),
    ):
        with pytest.raises(DataLoss, match=r"model m/1: parity\.safetensors is no parity vector"):
            load_parity(data, "m/1")
