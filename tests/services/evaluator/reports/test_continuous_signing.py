"""Continuous signing in a report: figures of made clips, and what is said when there is too little material."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from services.evaluator.cli import app
from services.evaluator.reports.continuous_figures import ContinuousSigning
from services.evaluator.reports.continuous_signing import LENGTHS, SEED
from services.evaluator.reports.evaluate import evaluate
from services.evaluator.reports.html.page import render
from services.evaluator.reports.report import Report
from services.evaluator.reports.report_store import read_report
from signet import landmarks
from signet.landmarks import LEFT_HAND, ClipRecord, Landmarks
from signet.landmarks.concatenation import Joining
from signet.registry import ModelCard
from signet.statistics.vocabulary_score import VocabularyScore
from signet.store import keys
from signet.streaming.evaluation.sequences import make_sequences
from tests.services.evaluator.conftest import GLOSSES, make_clip, place_of

if TYPE_CHECKING:
    from tests.services.evaluator.conftest import World

FRAMES = 60


def signed_clip(number: int, gloss: str, place: float, split: str = "val") -> Landmarks:
    """A left-handed person who rests for 0.5 s, holds the left hand at a place with a tremor for 1 s, and rests."""
    clip = make_clip(f"{split}{gloss}{number}", gloss, None, split=split, signer="left", frames=FRAMES)
    joints = clip.landmarks.astype(np.float32)
    signing = slice(15, 45)
    moving = 0.01 * np.sin(np.arange(30))
    joints[signing, LEFT_HAND] = np.stack([place + moving, 0.3 + moving, 0 * moving], axis=1)[:, None]
    joints[signing, LEFT_HAND, 1] -= np.linspace(0, 0.1, 21, dtype=np.float32)
    joints[signing, 15, :2] = np.stack([place + moving, 0.3 + moving], axis=1)
    presence = clip.presence.copy()
    presence[signing, 1] = 1
    record = ClipRecord.model_validate({**clip.record.model_dump(), "clip_id": f"{split}{gloss}{number}"})
    return Landmarks(joints.astype(np.float16), presence, clip.visibility, clip.timestamps, record)


def publish(world: "World", clips: Sequence[Landmarks], **changes: Any) -> ModelCard:
    """Store the clips in the corpus, and publish a model of those that have a gloss of the vocabulary."""
    for clip in clips:
        world.store.put(keys.clip("made", clip.record.clip_id), landmarks.dump(clip))
    return world.publish(world.snapshot([clip for clip in clips if clip.record.gloss in GLOSSES]), **changes)


def make_corpus(others: int = 0) -> list[Landmarks]:
    clips = [
        signed_clip(number, gloss, place_of(index, len(GLOSSES)), split)
        for index, gloss in enumerate(GLOSSES)
        for split, count in (("train", 1), ("val", 5))
        for number in range(count)
    ]
    return clips + [signed_clip(number, "unknown", place_of(2, len(GLOSSES))) for number in range(others)]


def measure(world: "World") -> tuple[Report, ContinuousSigning]:
    report, _ = evaluate(world.store, "signet", threads=1)
    assert report.continuous_signing is not None
    assert read_report(world.store, report.report_id) == report
    return report, report.continuous_signing


def test_the_figures_are_those_of_streams_over_the_sequences(world: "World") -> None:
    clips = make_corpus(others=30)
    card = publish(
        world, clips, vocabulary_score=VocabularyScore(temperature=1, weight=2, bias=-2), rejection_threshold=0.4
    )
    report, signing = measure(world)
    assert (signing.clips, signing.of_clips, signing.missing) == (30, 30, "")
    assert [kind.kind for kind in signing.kinds] == list(Joining)
    held_out = sorted((clip for clip in clips if clip.record.split == "val"), key=lambda clip: clip.record.clip_id)
    held_out = [clip for clip in held_out if clip.record.gloss in GLOSSES]
    for kind in signing.kinds:
        # The graph sees left hands only, so it finds the signs of the sequences that are not mirrored to the right.
        sequences = make_sequences(held_out, Joining(kind.kind), SEED, LENGTHS)
        hidden = sum(len(sequence.signs) for sequence in sequences[::2])
        assert (kind.sequences, kind.signs) == (len(sequences), sum(len(sequence.signs) for sequence in sequences))
        assert kind.missed.count >= hidden
        assert kind.total.count == kind.wrong.count + kind.missed.count + kind.inserted.count
        assert kind.total.share == pytest.approx(kind.total.count / kind.signs)
        assert kind.total.low is not None
        assert kind.total.high is not None
        assert kind.total.low <= kind.total.share <= kind.total.high
        assert kind.right == kind.signs - kind.wrong.count - kind.missed.count
    as_they_are = signing.kinds[0]
    assert as_they_are.right > 5
    assert as_they_are.overlap_median is not None
    # The graph is made up, and emits outside of the movements.
    assert 0 <= as_they_are.overlap_median <= 1
    assert signing.silence is not None
    assert signing.silence.alarms == 0
    assert signing.other_signs is not None
    assert (signing.other_signs.clips, signing.other_signs.new_signers) == (30, 0)
    assert signing.other_signs.alarms > 0, "the unknown sign is made where a known one is"
    assert (signing.threshold, signing.score) == (card.rejection_threshold, "vocabulary score")
    assert signing.chosen is not None
    assert signing.chosen.on_other_signs == pytest.approx(signing.other_signs.a_minute)
    thresholds = [point.threshold for point in signing.curve]
    assert thresholds == sorted(thresholds)
    assert 0.4 in thresholds
    found = [point.found for point in signing.curve]
    assert found == sorted(found, reverse=True)
    assert "Operating curve" in render(report)
    assert report.seconds["continuous"] < report.seconds["total"]


def test_with_too_little_material_the_report_says_so(world: "World") -> None:
    publish(world, make_corpus())
    report, signing = measure(world)
    assert signing.other_signs is not None
    assert signing.other_signs.a_minute is None
    assert signing.other_signs.missing == "there are 0 seconds of it, and 30 are needed for a rate."
    assert (signing.threshold, signing.score) == (None, "probability")
    assert all(point.on_other_signs is None for point in signing.curve)
    assert "not measured, because there are 0 seconds of it" in " ".join(render(report).split())


def test_clips_that_have_left_the_corpus_are_named_as_the_reason(world: "World") -> None:
    clips = make_corpus()
    publish(world, clips)
    for clip in clips[4:]:
        world.store.delete(keys.clip("made", clip.record.clip_id))
    report, signing = measure(world)
    assert signing.missing.startswith("the corpus has the landmarks of 3 of the 30 clips of this report")
    assert (signing.kinds, signing.curve) == ((), ())
    assert signing.missing in " ".join(render(report).split())


def test_the_command_leaves_the_section_out_on_request(world: "World") -> None:
    publish(world, make_corpus())
    shown = CliRunner().invoke(app, ["evaluate", "--no-continuous", "--store", world.store.url])
    assert shown.exit_code == 0, shown.output
    assert "sequences of" not in shown.output
    (key,) = (info.key for info in world.store.list(keys.reports()) if info.key.endswith(".json"))
    assert "continuous_signing" not in json.loads(world.store.get(key))
