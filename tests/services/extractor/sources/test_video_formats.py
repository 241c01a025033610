"""The table of WLASL's sources agrees with the videos that are still available."""

import csv
from pathlib import Path

import pytest

from services.extractor.sources.instances import NO_BOX
from services.extractor.sources.video_formats import FILM, NTSC, frame_rate, video_format
from services.extractor.sources.wlasl import read_metadata


def test_the_smallest_size_that_contains_the_box_is_chosen() -> None:
    assert [video_format("startasl", (100, 10, 500, bottom)).height for bottom in (400, 414, 415)] == [414, 414, 720]
    beyond = video_format("spreadthesign", (0, 0, 400, 300))
    assert (beyond.width, beyond.height) == (320, 240)


def test_the_midline_is_the_middle_of_the_box_or_of_the_picture() -> None:
    assert video_format("aslsearch", (180, 50, 360, 400)).midline == 270 / 720
    assert video_format("aslsearch", NO_BOX).midline == 0.5


def test_non_square_pixels_widen_the_picture_and_keep_the_midline() -> None:
    shown = video_format("aslbrick", (220, 50, 420, 480))
    assert (shown.width, shown.height, shown.midline) == (853, 480, 0.5)


def test_the_frame_rate_depends_on_source_and_signer() -> None:
    assert frame_rate("signschool", "31") == FILM
    assert frame_rate("signschool", "39") == frame_rate("nobody", "31") == NTSC


def test_real_videos_have_the_rate_of_the_table(wlasl: Path) -> None:
    if not (wlasl / "holistic/index.csv").is_file():
        pytest.skip("no landmark archive beside the clips")
    instances = {instance.clip_id: instance for instance in read_metadata(wlasl).instances}
    with (wlasl / "holistic/index.csv").open() as file:
        rows = list(csv.DictReader(file))
    hits = shapes = 0
    for row in rows:
        instance = instances[row["video_id"]]
        hits += abs(frame_rate(instance.source, instance.signer) / float(row["fps"]) - 1) < 0.01
        shown = video_format(instance.source, instance.box)
        shapes += abs(shown.width / shown.height / (float(row["width"]) / float(row["height"])) - 1) < 0.02
    assert hits >= 0.95 * len(rows)
    # The others are the wide ones: the index gives their stored pixels.
    assert shapes >= len(rows) - 4
