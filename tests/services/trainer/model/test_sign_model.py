"""The model: its size, its indifference to padding, its standardisation and its dropout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from services.extractor.sources.wlasl import read_metadata
from services.trainer.config.train_config import PARAMETER_TARGET, TrainConfig
from services.trainer.data.batches import Clips
from services.trainer.model.build import new_model
from services.trainer.model.sign_model import (
    Architecture,
    Encoder,
    SequenceDropout,
    SignModel,
    backward_order,
    reorder_frames,
)
from services.trainer.training.validate import single_sign_scores
from signet.datasets.snapshot import Dataset
from signet.decoding import BLANK
from signet.landmarks import Landmarks, to_model_input
from tests.reference_landmarks import load_reference_landmarks

# The joint of the pose that takes the place of each joint in a mirrored picture.
POSE_MIRRORED = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(joint + (1 if joint % 2 else -1) for joint in range(11, 33))]


@pytest.fixture
def model() -> SignModel:
    torch.manual_seed(0)
    return SignModel([Encoder(Architecture(classes=21))]).eval()


def test_the_default_model_for_twenty_glosses_has_about_fifty_thousand_parameters() -> None:
    assert abs(new_model(TrainConfig(), 20).parameter_count - PARAMETER_TARGET) < 10_000


def test_a_clip_is_recognised_alike_alone_and_among_longer_ones(model: SignModel, small_dataset: Dataset) -> None:
    clips = [torch.from_numpy(small_dataset.clip_frames(clip)) for clip in small_dataset.manifest.clips[:6]]
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=torch.nan)
    together = model(padded, lengths)
    for clip, row in zip(clips, together, strict=True):
        torch.testing.assert_close(model(clip[None], torch.tensor([len(clip)]))[0], row[: len(clip)])


def mirrored(clip: Landmarks) -> Landmarks:
    """The clip as a camera sees it that shows its picture mirrored."""
    joints = clip.landmarks * np.array([-1, 1, 1], np.float16)
    pose, left, right = joints[:, POSE_MIRRORED], joints[:, 33:54], joints[:, 54:]
    return replace(clip, landmarks=np.concatenate([pose, right, left], axis=1), presence=clip.presence[:, [0, 2, 1]])


def posteriors(model: SignModel, clips: list[Landmarks]) -> Tensor:
    """Probabilities of the signs: [B, C]."""
    inputs = [torch.from_numpy(to_model_input(clip)) for clip in clips]
    lengths = torch.tensor([len(frames) for frames in inputs])
    padded = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=torch.nan)
    with torch.no_grad():
        model.standardise(model.compute_features(padded, lengths).flatten(0, 1))
        return single_sign_scores(model(padded, lengths), lengths).softmax(dim=-1)


def test_a_mirrored_clip_gets_the_same_posterior_on_all_val_clips(model: SignModel, wlasl: Path) -> None:
    """A left-handed signer, and a camera that mirrors, get the answer of a right-handed signer."""
    val = {instance.clip_id for instance in read_metadata(wlasl).instances if instance.split == "val"}
    clips = [clip for clip in load_reference_landmarks(wlasl) if clip.record.clip_id in val]
    assert len(clips) == 130
    given, changed = posteriors(model, clips), posteriors(model, [mirrored(clip) for clip in clips])
    assert given.std(dim=0).mean() > 0.01, "the model tells the clips apart"
    assert (given - changed).abs().max() < 1e-3


def test_two_lstms_read_as_one_bidirectional_lstm() -> None:
    x, lengths = torch.randn(1, 3, 7, 5), torch.tensor([7, 4, 1])
    both = torch.nn.LSTM(5, 6, batch_first=True, bidirectional=True)
    back = torch.nn.LSTM(5, 6, batch_first=True)
    back.load_state_dict(
        {name.removesuffix("_reverse"): value for name, value in both.state_dict().items() if "_reverse" in name}
    )
    order = backward_order(lengths, 7)
    ours = reorder_frames(back(reorder_frames(x, order)[0])[0][None], order)[0]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x[0], lengths, batch_first=True)
    theirs, _ = torch.nn.utils.rnn.pad_packed_sequence(both(packed)[0], batch_first=True)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(ours[row, :length], theirs[row, :length, 6:])


def test_features_are_standardised_by_training_frames_and_both_hands_alike() -> None:
    encoder = Encoder(Architecture(classes=4, groups=("presence", "hands")))
    frames = torch.randn(500, 13, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 14.0) + 5
    frames[:, 12] = 3.0
    encoder.standardise(frames)
    hands = frames[:, :2].flatten()
    mean, deviation = encoder.mean, encoder.deviation
    torch.testing.assert_close(mean, torch.cat([hands.mean().expand(2), frames[:, 2:].mean(dim=0)]))
    torch.testing.assert_close(deviation[:12], torch.cat([hands.std().expand(2), frames[:, 2:12].std(dim=0)]))
    assert deviation[12] == pytest.approx(0.01), "a feature that does not vary"
    seen = encoder.standardised(torch.stack([mean + 2 * deviation, mean + 7 * deviation, mean - 7 * deviation]))
    torch.testing.assert_close(seen, torch.tensor([2.0, 6.0, -6.0])[:, None].expand(-1, 13), atol=1e-3, rtol=0)


def test_dropout_leaves_out_its_share_of_units_and_scales_up_the_others() -> None:
    dropout, ones = SequenceDropout(0.3), torch.ones(4, 50, 3, 100)
    torch.manual_seed(0)
    dropped = dropout(ones)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(dropped[dropped != 0], torch.full_like(dropped[dropped != 0], 1 / 0.7))
    assert torch.equal(dropout.eval()(ones), ones)


@pytest.mark.parametrize(("head", "least", "most"), [("linear", 1.5, 2.0), ("competition", 0.03, 2.0)])
def test_the_blank_penalty_makes_a_new_model_less_blank(
    small_dataset: Dataset, head: str, least: float, most: float
) -> None:
    torch.manual_seed(0)
    model = SignModel([Encoder(Architecture(classes=21, head=head))]).eval()
    clips = Clips.from_dataset(small_dataset, small_dataset.split("val"), torch.device("cpu"))

    @torch.no_grad()
    def blank() -> float:
        features = model.features(*clips.padded(), clips.lengths)
        return float(model.log_probs(features, clips.lengths)[..., BLANK].mean())

    before = blank()
    model.penalise_blank(2.0)
    assert least < before - blank() < most
