"""A model's score on clips against the served decoder, clip by clip."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from services.trainer.data.batches import Clips
from services.trainer.model.heads import LinearHead
from services.trainer.model.sign_model import Architecture, Encoder, SignModel
from services.trainer.training.validate import NO_SCORE, Score, evaluate, single_sign_scores
from services.trainer.training.validate_sequences import evaluate_sequences, evaluate_signing
from signet import decoding
from signet.datasets.snapshot import Dataset
from signet.decoding import (
    ContinuousDecoder,
    best_path,
    blank_ratio,
    log_softmax,
    penalise_blank,
)
from signet.landmarks.body import left_dominance
from signet.landmarks.concatenation import Joining, concatenate
from signet.statistics.gloss_errors import GlossErrors, gloss_errors
from tests.signet.decoding.enumeration import posteriors, sequences

Frames = npt.NDArray[np.float32]

CPU = torch.device("cpu")
DECODER = ContinuousDecoder(beam_width=4, blank_penalty=0.7, insertion_penalty=0.3)


@pytest.fixture
def model(small_dataset: Dataset) -> SignModel:
    """One that has learnt nothing and says it loudly: empty, single and many signs come out."""
    torch.manual_seed(3)
    made = SignModel([Encoder(Architecture(classes=4, hidden_dim=16, dropout=0.5, head="linear"))])
    with torch.no_grad():
        assert isinstance(made.encoders[0].head, LinearHead)
        made.encoders[0].head.logits.weight.mul_(12)
    made.penalise_blank(-1.0)
    clips = Clips.from_dataset(small_dataset, small_dataset.split("train"), CPU)
    frames = made.features(*clips.padded(), clips.lengths)
    made.standardise(frames[torch.arange(frames.shape[1]) < clips.lengths[:, None]])
    return made


@pytest.fixture(name="all_clips")
def _all_clips(small_dataset: Dataset) -> Clips:
    return Clips.from_dataset(small_dataset, list(small_dataset.manifest.clips), CPU)


def _log_probs(model: SignModel, *clips: Frames) -> Frames:
    """What the model says of raw landmarks, by the way that serving takes."""
    frames = torch.from_numpy(np.concatenate(clips))[None]
    with torch.no_grad():
        return np.asarray(model.eval()(frames, torch.tensor([frames.shape[1]]))[0].numpy())


def test_a_score_counts_what_the_served_decoders_say_of_each_clip(
    model: SignModel, all_clips: Clips, small_dataset: Dataset
) -> None:
    score = evaluate(model, all_clips, DECODER, predictions=True)
    correct = top5 = greedy = empty = continuous = silent = blanks = 0
    loss = 0.0
    posteriors, decoded = [], []
    for clip in small_dataset.manifest.clips:
        label = small_dataset.label(clip)
        log_probs = _log_probs(model, small_dataset.clip_frames(clip))
        penalised = penalise_blank(log_probs, DECODER.blank_penalty)
        scores = decoding.single_sign_scores(penalised)
        path = best_path(penalised)
        (signs,) = DECODER.decode(log_probs[None])
        correct += int(scores.argmax()) + 1 == label
        top5 += label in (-scores).argsort()[:5] + 1
        greedy += path == [label]
        empty += not path
        continuous += signs == (label,)
        silent += not signs
        blanks += round(blank_ratio(penalised) * clip.frames)
        loss -= decoding.single_sign_scores(log_probs)[label - 1]
        posteriors.append(log_softmax(scores))
        decoded.append(signs)
    count = len(small_dataset.manifest.clips)
    frames = sum(clip.frames for clip in small_dataset.manifest.clips)
    assert score == Score(
        loss=pytest.approx(loss / count, rel=1e-4),  # type: ignore[arg-type]
        clips=count,
        correct=correct,
        top5=top5,
        greedy_correct=greedy,
        empty=empty,
        blank_ratio=pytest.approx(blanks / frames),  # type: ignore[arg-type]
        continuous_correct=continuous,
        continuous_empty=silent,
    )
    # The model is one that tells these apart.
    assert 0 < correct < count
    assert len({len(signs) for signs in decoded}) > 1
    assert score.predictions is not None
    assert score.predictions.labels.tolist() == [small_dataset.label(clip) for clip in small_dataset.manifest.clips]
    assert score.predictions.log_posterior.dtype == np.float32
    np.testing.assert_allclose(score.predictions.log_posterior, posteriors, atol=1e-3)
    assert list(score.predictions.continuous or ()) == decoded


def test_the_clips_whose_sign_is_ranked_first_are_marked(model: SignModel, all_clips: Clips) -> None:
    score = evaluate(model, all_clips, DECODER, predictions=True)
    assert score.predictions is not None
    guesses = score.predictions.log_posterior.argmax(axis=1) + 1
    assert score.predictions.recognised.tolist() == (guesses == score.predictions.labels).tolist()
    assert score.predictions.recognised.sum() == score.correct


def test_what_is_not_asked_for_is_not_there(model: SignModel, all_clips: Clips) -> None:
    score = evaluate(model, all_clips, DECODER, continuous=False)
    assert (score.continuous_correct, score.continuous_empty, score.predictions) == (None, None, None)
    assert score == replace(evaluate(model, all_clips, DECODER), continuous_correct=None, continuous_empty=None)
    predictions = evaluate(model, all_clips, DECODER, continuous=False, predictions=True).predictions
    assert predictions is not None
    assert predictions.continuous is None
    assert evaluate(model, all_clips.select(slice(0)), DECODER) is NO_SCORE


def test_more_clips_than_are_judged_at_a_time_are_each_judged_as_alone(model: SignModel, all_clips: Clips) -> None:
    many = 12
    repeated = all_clips.select(torch.arange(len(all_clips)).repeat(many))
    once, often = (
        evaluate(model, all_clips, DECODER, predictions=True),
        evaluate(model, repeated, DECODER, predictions=True),
    )
    assert often.clips == many * once.clips
    assert (often.correct, often.continuous_correct) == (many * once.correct, many * (once.continuous_correct or 0))
    assert once.predictions is not None
    assert often.predictions is not None
    np.testing.assert_allclose(
        often.predictions.log_posterior, np.tile(once.predictions.log_posterior, (many, 1)), atol=1e-4
    )
    assert often.predictions.continuous == many * (once.predictions.continuous or ())


@pytest.mark.parametrize("parts", [2, 5, 24])
def test_clips_that_are_computed_in_parts_have_the_same_score(model: SignModel, all_clips: Clips, parts: int) -> None:
    sizes: list[int] = []
    handle = model.encoders[0].register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
    whole = evaluate(model, all_clips, DECODER)
    in_parts = evaluate(model, all_clips, DECODER, parts)
    handle.remove()
    assert vars(in_parts) == vars(whole) | {"loss": pytest.approx(whole.loss)}
    assert sizes[0] == sum(sizes[1:]) == 24
    assert max(sizes[1:]) == -(-24 // parts)


def test_a_model_is_left_in_the_mode_that_it_was_in(model: SignModel, all_clips: Clips) -> None:
    for training in (True, False):
        model.train(training)
        first = evaluate(model, all_clips, DECODER)
        evaluate_sequences(model, all_clips, DECODER, seed=0)
        assert model.training is training
        assert evaluate(model, all_clips, DECODER) == first


def test_sequences_of_clips_are_decoded_joined_as_in_training_and_as_a_camera_sees_them(
    model: SignModel, all_clips: Clips, small_dataset: Dataset
) -> None:
    errors = evaluate_sequences(model, all_clips, DECODER, seed=5)
    # 24 clips in 8 sequences, in the order that the seed gives.
    rows = np.random.default_rng(5).permutation(24).reshape(8, 3)
    features, landmarks = GlossErrors(), GlossErrors()
    manifest = small_dataset.manifest.clips
    for sequence in rows:
        signed = [small_dataset.label(manifest[row]) for row in sequence]
        raw = [small_dataset.clip_frames(manifest[row]) for row in sequence]
        landmarks += gloss_errors(signed, DECODER.decode(_log_probs(model, *raw)[None])[0])
        with torch.no_grad():
            own = []
            for row in sequence:
                one = all_clips.select(torch.tensor([row]))
                own.append(model.features(*one.padded(), one.lengths)[0])
            joined = torch.cat(own)[None]
            log_probs = model.log_probs(joined, torch.tensor([joined.shape[1]]))
        features += gloss_errors(signed, DECODER.decode(log_probs.numpy())[0])
    assert errors.joined_features == features
    assert errors.joined_landmarks == landmarks
    assert errors.joined_features.signed == 24
    assert evaluate_sequences(model, all_clips, DECODER, seed=5) == errors


def test_a_silent_model_misses_every_gloss_of_a_sequence(model: SignModel, all_clips: Clips) -> None:
    model.penalise_blank(-1000.0)
    errors = evaluate_sequences(model, all_clips.select(slice(11)), DECODER, seed=0)
    # Three sequences of three; two clips are left over.
    assert errors.joined_features == errors.joined_landmarks == GlossErrors(deletions=9, signed=9)
    assert errors.joined_features.rate == 1
    assert evaluate_sequences(model, all_clips.select(slice(2)), DECODER, seed=0).joined_features == GlossErrors()


def test_sequences_are_joined_as_one_signer_would_sign_them(model: SignModel, small_dataset: Dataset) -> None:
    clips = small_dataset.manifest.clips
    rows = np.random.default_rng(5).permutation(len(clips)).reshape(-1, 3)
    by_signer: dict[str, float] = {}
    for clip in clips:
        signer = clip.signer or clip.clip_id
        by_signer[signer] = by_signer.get(signer, 0.0) + left_dominance(small_dataset.clip_frames(clip))
    for joining in Joining:
        expected = GlossErrors()
        for sequence in rows:
            chosen = [clips[row] for row in sequence]
            frames = [small_dataset.clip_frames(clip) for clip in chosen]
            left_handed = [by_signer[clip.signer or clip.clip_id] > 0 for clip in chosen]
            joined = concatenate(frames, [clip.gloss for clip in chosen], joining, left_handed).frames
            signed = [small_dataset.label(clip) for clip in chosen]
            expected += gloss_errors(signed, DECODER.decode(_log_probs(model, joined)[None])[0])
        assert evaluate_signing(model, small_dataset, clips, DECODER, joining, seed=5) == expected
        assert expected.signed == len(clips)


SCORED_LENGTHS = torch.tensor([11, 7, 2, 1])


@pytest.fixture(name="log_probs")
def _drawn_log_probs() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.log_softmax(3 * torch.randn(4, 11, 6), dim=-1)


def test_single_sign_scores_are_those_of_the_served_decoder(log_probs: torch.Tensor) -> None:
    scores = single_sign_scores(log_probs, SCORED_LENGTHS)
    for row, length in enumerate(SCORED_LENGTHS):
        expected = decoding.single_sign_scores(log_probs[row, :length].numpy())
        np.testing.assert_allclose(scores[row], expected, atol=1e-5)


def test_single_sign_scores_are_the_sum_over_all_alignments() -> None:
    log_probs = torch.from_numpy(posteriors(5, 3, 0))
    expected = sequences(log_probs.numpy())
    (scores,) = single_sign_scores(log_probs[None], torch.tensor([5]))
    assert scores.tolist() == pytest.approx([expected[(c,)] for c in (1, 2, 3)], abs=1e-12)


def test_scores_of_long_clips_of_a_large_vocabulary_are_those_of_float64() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([200, 1, 60])
    for sharpness in (0.0, 1.0, 30.0, 300.0):
        log_probs = torch.log_softmax(sharpness * torch.randn(3, 200, 2001), dim=-1)
        low, high = single_sign_scores(log_probs, lengths), single_sign_scores(log_probs.double(), lengths)
        torch.testing.assert_close(low, high, rtol=1e-7, atol=1e-3)


def test_bfloat16_is_scored_in_float32(log_probs: torch.Tensor) -> None:
    low = log_probs.bfloat16()
    torch.testing.assert_close(single_sign_scores(low, SCORED_LENGTHS), single_sign_scores(low.float(), SCORED_LENGTHS))


def test_top_five_counts_the_clips_whose_sign_has_one_of_the_first_five_ranks(
    all_clips: Clips, small_dataset: Dataset
) -> None:
    """Of twelve classes, and not of fewer than five, where every clip would count."""
    torch.manual_seed(1)
    model = SignModel([Encoder(Architecture(classes=13, hidden_dim=8))])
    clips = replace(all_clips, labels=torch.arange(24) % 12 + 1)
    predictions = evaluate(model, clips, DECODER, predictions=True).predictions
    assert predictions is not None
    order = (-predictions.log_posterior).argsort(axis=1) + 1
    ranks = [list(row).index(label) for row, label in zip(order, predictions.labels, strict=True)]
    assert {4, 5} <= set(ranks), "the clips tell apart where the count ends"
    score = evaluate(model, clips, DECODER)
    assert (score.correct, score.top5) == (sum(rank == 0 for rank in ranks), sum(rank < 5 for rank in ranks))


def test_with_five_classes_or_fewer_every_clip_is_among_the_first_five(model: SignModel, all_clips: Clips) -> None:
    assert evaluate(model, all_clips, DECODER).top5 == 24
