"""Pictures show the frames of the video that the clip was made of, or a plain ground."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from services.extractor.quality.pictures import HEIGHT, choose_frames, draw_strip, picture_width, to_data_uri
from signet.landmarks import Landmarks
from tests.services.extractor.conftest import MakeVideo
from tests.services.extractor.quality.signers import make_sign


def _clip_of(video: Path, frames: int) -> Landmarks:
    clip = make_sign(1, "a", seconds=frames / 30)
    digest = hashlib.sha256(video.read_bytes()).hexdigest()
    update = {"source_sha256": digest, "width": 64, "height": 48, "frame_end": frames, "fps": 25.0}
    times = np.arange(frames, dtype=np.float32) / 25
    return replace(clip, record=clip.record.model_copy(update=update), timestamps=times)


def test_the_ground_is_the_frame_of_the_same_time(make_video: MakeVideo) -> None:
    video = make_video(frames=20)
    strip, why = draw_strip(_clip_of(video, 20), [4, 15], video)
    assert why == ""
    width = picture_width(_clip_of(video, 20).record)
    assert strip.shape == (HEIGHT, 2 * width + 3, 3)
    # Frame i of the made video has the grey level 10 · i. The lower right corner has no skeleton.
    for start, level in ((0, 40), (width + 3, 150)):
        assert abs(float(strip[-20:, start + width - 20 : start + width - 4].mean()) - level) < 12


def test_without_the_video_the_ground_is_plain(make_video: MakeVideo, tmp_path: Path) -> None:
    video, other = make_video(frames=20), make_video("other.mp4", frames=21)
    clip = _clip_of(video, 20)
    for path, reason in ((None, "not here"), (other, "is not the video"), (tmp_path / "gone.mp4", "cannot be read")):
        strip, why = draw_strip(clip, [4, 15], path)
        assert reason in why
        assert len(np.unique(strip.reshape(-1, 3), axis=0)) > 10  # the ground, and lines of several colours


def test_frames_are_chosen_where_hands_are() -> None:
    clip = make_sign(1, "a")
    presence = clip.presence.copy()
    presence[:, 1:] = 0
    presence[30:60, 2] = 1
    chosen = choose_frames(replace(clip, presence=presence), 5)
    assert len(chosen) == 5 and chosen[0] > 30 and chosen[-1] < 60
    assert choose_frames(replace(clip, presence=np.zeros_like(presence)), 3) == [15, 44, 74]


def test_a_picture_is_small() -> None:
    strip, _ = draw_strip(make_sign(1, "a"), [0, 20, 40, 60, 80])
    uri = to_data_uri(strip)
    assert uri.startswith("data:image/webp;base64,UklGR") and len(uri) < 40_000
