"""The page about a clip: its films, its features and the output of a model, in one file."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.inspection.clip.page import render_clip_page
from services.trainer.model.build import build_ensemble, new_model
from signet import registry
from signet.landmarks import POSE, Landmarks
from signet.registry import Metrics, ModelCard
from tests.services.trainer.conftest import moving_clip
from tests.strict_html import Page

VOCABULARY = ("book", "drink", "who")


def card(vocabulary: tuple[str, ...] = VOCABULARY) -> ModelCard:
    metrics = Metrics(val_clips=0, val_correct=0, val_greedy_correct=0, blank_ratio=0.0, epoch=1)
    return ModelCard(
        schema=registry.SCHEMA, name="m", version="v7", created="2026-01-01T00:00:00+00:00",
        run_id="r", dataset_name="d", dataset_version="1",
        vocabulary=vocabulary, frame_rate=10.0, blank_penalty=1.0, parameters=1, config={}, metrics=metrics,
        onnx_difference=0.0, files={},
    )  # fmt: skip


CLIP = moving_clip("c1", "who", "val", 3, signer="7")


def test_the_page_is_complete_and_loads_nothing() -> None:
    page = Page(render_clip_page(CLIP))
    page.assert_alone()
    for said in ("who", "c1", "signer 7", "In motion", "Features", "thumb along index", "near chest"):
        assert said in page.words, said
    assert "picture heights. The right hand is dominant" in page.words
    assert "Output of a model" not in page.words


def test_a_film_shows_each_frame_at_its_turn_and_both_films_have_the_same_duration() -> None:
    html = render_clip_page(CLIP)
    page = Page(html)
    seen, stored = page.with_class("seen"), page.with_class("stored")
    assert f"The model sees {seen} frames at 10 a second" in page.words
    duration = max(CLIP.frames / 25, seen / 10)
    assert stored == round(duration * 25)
    turns = [float(at) for at in re.findall(r'class="picture stored" style="--at:(-?[\d.]+)"', html)]
    np.testing.assert_allclose(np.diff(turns), 1 / stored, atol=1e-3)
    assert (turns[0], turns[-1] < 0) == (-1.0, True)
    own = set(re.findall(r"--own: ([\d.]+)s", html))
    assert len(own) == 1
    assert float(own.pop()) == pytest.approx(duration, abs=1e-3)


def test_the_film_of_a_long_clip_has_a_bounded_size() -> None:
    many = 500
    times = (np.arange(many) / 25).astype(np.float32)
    each = np.arange(many) % CLIP.frames
    long = Landmarks(CLIP.landmarks[each], CLIP.presence[each], CLIP.visibility[each], times, CLIP.record)
    page = Page(render_clip_page(long))
    assert page.with_class("stored") == 240
    assert len(page.html) < 2_000_000


def test_a_clip_with_a_variable_frame_rate_keeps_its_timing() -> None:
    times = CLIP.timestamps.copy()
    times[10:] += 1.0  # one second without frames
    page = render_clip_page(replace(CLIP, timestamps=times))
    assert page.count(f">{times[9]:.2f} s<") == pytest.approx(26, abs=1), "this frame is shown for a second"


def test_the_page_of_a_clip_without_a_body_says_that_its_place_is_estimated() -> None:
    presence, joints, visibility = CLIP.presence.copy(), CLIP.landmarks.copy(), CLIP.visibility.copy()
    presence[:, 0], joints[:, POSE], visibility[:] = 0, np.nan, np.nan
    page = Page(render_clip_page(replace(CLIP, presence=presence, landmarks=joints, visibility=visibility)))
    page.assert_alone()
    assert "estimated from the hands" in page.words


def test_the_page_of_a_clip_without_hands_says_so() -> None:
    presence, joints = CLIP.presence.copy(), CLIP.landmarks.copy()
    presence[:, 1:], joints[:, 33:] = 0, np.nan
    page = Page(render_clip_page(replace(CLIP, presence=presence, landmarks=joints)))
    page.assert_alone()
    assert "No hand is present in 100 % of the frames" in page.words.replace("\u202f", " ")


@pytest.mark.parametrize("members", [1, 2])
def test_the_output_of_a_model_is_shown_with_only_the_features_that_it_uses(members: int) -> None:
    config = TrainConfig(hidden_dim=4, without="outline")
    torch.manual_seed(0)
    model = build_ensemble([new_model(config, 3).eval() for _ in range(members)])
    page = Page(render_clip_page(CLIP, (card(), model)))
    page.assert_alone()
    assert "m v7, 3 glosses" in page.words
    assert "The model does not use outline" in page.words
    assert "thumb root, x" not in page.text
    assert re.search(r"Most probable: \w+ \d\.\d\d", page.words)
    assert re.search(r"1\.0 s: who 0\.\d\d, \w+ 0\.\d\d, other signs 0\.\d\d, blank 0\.\d\d", page.text)


def test_the_page_says_that_the_model_does_not_know_the_gloss() -> None:
    model = new_model(TrainConfig(hidden_dim=4), 2).eval()
    page = Page(render_clip_page(CLIP, (card(("book", "drink")), model)))
    assert "The model does not know the gloss who" in page.words


def test_hostile_names_are_only_text() -> None:
    hostile = '<img src=x onerror="alert(1)"></title></svg><script>'
    record = CLIP.record.model_copy(update={"gloss": hostile, "clip_id": hostile, "signer": hostile})
    model = new_model(TrainConfig(hidden_dim=4), 2).eval()
    page = Page(render_clip_page(replace(CLIP, record=record), (card((hostile, "drink")), model)))
    page.assert_alone()
    assert hostile in page.text
