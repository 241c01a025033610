"""Masked prediction: what is hidden, and what must be reconstructed."""

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Batch, Clips
from services.trainer.features.phonology import Features
from services.trainer.model.build import new_model
from services.trainer.model.masked import MaskedModel
from services.trainer.model.sign_model import length_mask
from services.trainer.training import masked_prediction
from services.trainer.training.masked_prediction import (
    HIDDEN_SHARE,
    hidden_frames,
    hide_spans,
    hide_spans_in_batch,
    huber_sum,
    present_features,
    target_mask,
)
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")
QUICK = TrainConfig(pretrain=True, num_epochs=6, hidden_dim=8, hand_dim=4, batch_size=6)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def measured(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    return Features()(*clips.padded(), clips.lengths), clips.lengths


def model() -> MaskedModel:
    made = new_model(QUICK, 3)
    assert isinstance(made, MaskedModel)
    return made.eval()


def test_about_a_third_of_the_frames_is_hidden_and_never_a_whole_clip() -> None:
    lengths = torch.randint(1, 60, (4000,), generator=drawn())

    hidden = hide_spans(lengths, 60, drawn())

    inside = torch.arange(60)[None, :] < lengths[:, None]
    assert not (hidden & ~inside).any()
    assert (hidden.sum(dim=1) < lengths).all()
    assert float(hidden.sum() / inside.sum()) == pytest.approx(HIDDEN_SHARE, abs=0.02)
    assert torch.equal(hidden, hide_spans(lengths, 60, drawn()))


def test_the_model_never_sees_what_is_hidden(small_dataset: Dataset) -> None:
    features, lengths = measured(small_dataset)
    hidden = hide_spans(lengths, features.shape[1], drawn())
    changed = torch.where(hidden[..., None], features + 0.1, features)
    masked = model()

    before, after = (masked.residuals(x, lengths, hidden) for x in (features, changed))

    # Only the target moved; what was told of each frame did not.
    assert torch.allclose(before - after, changed - features, atol=1e-5)
    assert not torch.allclose(masked.encoders[0].states(features, lengths), masked.encoders[0].states(changed, lengths))


def test_features_of_an_absent_hand_are_not_asked_for(small_dataset: Dataset) -> None:
    features, _ = measured(small_dataset)
    kind = Features()

    present = present_features(features, kind)

    # The clips' left hand, which follows and comes first, is never found.
    assert not present[..., : kind.hand_size].any()
    found = features[..., 2 * kind.hand_size - 1] > 0
    assert torch.equal(
        present[..., kind.hand_size : 2 * kind.hand_size], found[..., None].expand(-1, -1, kind.hand_size)
    )
    assert not present[..., 2 * kind.hand_size : -1].any()
    assert present[..., -1].all()


def test_the_loss_does_not_depend_on_the_labels_and_that_of_parts_adds_up(small_dataset: Dataset) -> None:
    features, lengths = measured(small_dataset)
    inside = torch.arange(features.shape[1])[None, :] < lengths[:, None]
    count = len(lengths)
    labels = [torch.ones(count, 1, dtype=torch.long), torch.full((count, 1), 3)]
    masked = model()

    def loss(part: Batch) -> torch.Tensor:
        residuals = masked.residuals(part.features, part.lengths, hidden_frames(part))
        return huber_sum(residuals, target_mask(part, masked.features))

    losses = []
    for targets in labels:
        whole = Batch(features, lengths, targets, torch.ones(count, dtype=torch.long), inside * targets, inside)
        batch = hide_spans_in_batch(whole, drawn())
        losses.append(loss(batch))
        assert torch.allclose(torch.stack([loss(part) for part in batch.split(3)]).sum(), losses[-1], rtol=1e-4)

    assert torch.equal(*losses)


def test_of_a_sequence_that_would_be_hidden_the_middle_frame_stays_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_prediction, "HIDDEN_SHARE", 1.0)
    lengths = torch.tensor([1, 2, 5, 9])
    visible = ~hide_spans(lengths, 9, drawn()) & length_mask(torch.zeros(4, 9), lengths)
    assert visible.nonzero().tolist() == [[0, 0], [1, 1], [2, 2], [3, 4]]


def test_only_features_of_hidden_frames_are_reconstructed(small_dataset: Dataset) -> None:
    features, lengths = measured(small_dataset)
    inside = length_mask(features, lengths)
    one = torch.ones(len(lengths), dtype=torch.long)
    batch = hide_spans_in_batch(Batch(features, lengths, one[:, None], one, inside.long(), inside), drawn())
    mask, hidden = target_mask(batch, Features()), hidden_frames(batch)
    assert not mask[~hidden].any()
    assert torch.equal(mask[hidden], present_features(features, Features())[hidden])
    assert torch.equal(mask.any(dim=-1), hidden), "whether the body is present is asked of every hidden frame"
