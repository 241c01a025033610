"""Long videos are cut into equal pieces that are short enough, and each frame is in one piece."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from services.extractor.sources.instances import Instance
from services.extractor.sources.pieces import cut_into_pieces, is_too_long, make_piece, parse_piece_id
from services.extractor.video.decode import Segment
from signet.store import keys


def even(frames: int, fps: float) -> list[float]:
    return [frame / fps for frame in range(frames)]


@pytest.mark.parametrize(
    ("times", "pieces"),
    [
        (even(15_000, 25), 1),  # ten minutes
        (even(15_001, 25), 2),
        (even(90_000, 25), 6),
        (even(36_001, 120), 2),  # five minutes, but more than 36,000 frames
        (even(3_700, 5), 2),
        (even(108_000, 30), 6),
    ],
)
def test_the_smallest_number_of_equal_pieces_is_made(times: Sequence[float], pieces: int) -> None:
    cut = cut_into_pieces(times)
    assert len(cut) == pieces
    assert cut[0].start == 1
    assert cut[-1].end == len(times)
    for piece, following in itertools.pairwise(cut):
        assert following.start == piece.end + 1
    lengths = [piece.frames for piece in cut]
    assert max(lengths) - min(lengths) <= 1
    assert not any(is_too_long(times[piece.start - 1 : piece.end]) for piece in cut)


def test_a_video_whose_frames_are_denser_in_a_part_is_cut_into_more_pieces() -> None:
    times = [*even(50_000, 200), *(250 + time for time in even(3_000, 10))]
    cut = cut_into_pieces(times)
    assert not any(is_too_long(times[piece.start - 1 : piece.end]) for piece in cut)
    assert sum(piece.frames for piece in cut) == len(times)
    assert len(cut) == 4


def test_a_piece_without_a_frame_is_left_out() -> None:
    times = [*np.arange(10) * 0.2, *(1900 + np.arange(10) * 0.2)]
    assert cut_into_pieces(times) == (Segment(1, 10), Segment(11, 20))


def test_the_id_of_a_piece_names_its_video() -> None:
    whole = Instance("book-1-0123456789ab", "book", "train", "ann")
    piece = make_piece(whole, 2, 13)
    assert piece == Instance("book-1-0123456789ab-part-2-of-13", "book", "train", "ann", part_of=whole.clip_id)
    assert keys.is_name(piece.clip_id)
    assert parse_piece_id(piece.clip_id) == (whole.clip_id, 2, 13)
    for clip_id in (whole.clip_id, "a-part-3-of-2", "a-part-0-of-2", "a-part-1-of-2b", "a-part-01-of-2"):
        assert parse_piece_id(clip_id) == (clip_id, 1, 1)
