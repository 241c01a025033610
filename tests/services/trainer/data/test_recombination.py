"""Recombinations: the shape of one clip's hands with the place and movement of another's."""

import pytest
import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Clips, Sampler
from services.trainer.data.recombination import Recombinations, shape_features, where_both_have_the_hand
from services.trainer.features.groups import HAND_GROUPS, SHAPE_GROUPS
from services.trainer.features.phonology import Features
from services.trainer.training.loop import Training
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")
STILL = Augmentation(**dict.fromkeys(vars(Augmentation()), 0.0))


def make_recombinations(dataset: Dataset, seed: int = 0) -> Recombinations:
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    sampler = Sampler(clips, Features(), 6, 3, STILL, torch.Generator().manual_seed(seed))
    return Recombinations(sampler, len(dataset.manifest.vocabulary))


def test_shape_features_are_the_shape_groups_of_each_hand() -> None:
    features = Features()
    masks = shape_features(features)
    count = sum(HAND_GROUPS[group] for group in SHAPE_GROUPS)
    assert masks.sum(dim=1).tolist() == [count, count]
    assert not (masks[0] & masks[1]).any()
    assert torch.equal(masks[0, : features.hand_size], masks[1, features.hand_size : 2 * features.hand_size])
    assert not masks[:, 2 * features.hand_size :].any()


def test_each_frame_has_the_shape_of_one_clip_and_all_else_of_a_clip_of_another_sign(small_dataset: Dataset) -> None:
    recombinations = make_recombinations(small_dataset)
    clips = recombinations.sampler.clips
    own = Features()(*clips.padded(), clips.lengths)
    first, second = shape_features(Features())
    either = first | second
    batches = list(recombinations.epoch())
    assert len(batches) == recombinations.sampler.batches_per_epoch
    changed = 0
    for batch in batches:
        assert batch.frame_labels.any(dim=1).all()
        assert torch.equal(batch.inside.sum(dim=1), batch.lengths)
        assert (batch.features[~batch.inside] == 0).all()
        for row, length in enumerate(batch.lengths.tolist()):
            frames = batch.features[row, :length]
            (mover,) = [
                clip
                for clip in range(len(clips))
                if clips.lengths[clip] == length
                and torch.allclose(frames[:, ~either], own[clip, :length, ~either], atol=1e-4)
            ]
            shapes_of_others = own[clips.labels != clips.labels[mover]][..., either].flatten(0, 1)
            for frame in range(length):
                if torch.allclose(frames[frame, either], own[mover, frame, either], atol=1e-4):
                    continue
                changed += 1
                for hand in (first, second):
                    value = frames[frame, hand]
                    kept = torch.allclose(value, own[mover, frame, hand], atol=1e-4)
                    distances = (shapes_of_others[:, hand[either]] - value).abs().amax(dim=1)
                    assert kept or distances.min() < 1e-4
    assert changed > 100


def test_a_hand_that_one_clip_lacks_is_not_exchanged() -> None:
    shape = torch.tensor([[True, False, False, False], [False, False, True, False]])
    first = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    second = torch.tensor([[[2.0, 2.0, 3.0, 3.0]]])
    assert where_both_have_the_hand(first, second, shape).tolist() == [[[True, False, False, False]]]


def test_training_makes_the_model_doubt_recombinations(small_dataset: Dataset) -> None:
    def largest_probability(weight: float) -> float:
        config = TrainConfig(
            num_epochs=30, branches=1, hidden_dim=12, hand_dim=6, batch_size=6, recombination=weight, ema_decay=0.9
        )
        training = Training(small_dataset, config, CPU)
        assert all(torch.isfinite(torch.tensor(epoch.train_loss)) for epoch in training.epochs())
        batch = next(iter(make_recombinations(small_dataset, seed=5).epoch()))
        signs = torch.arange(1, len(small_dataset.manifest.vocabulary) + 1).expand(len(batch), -1)
        with torch.no_grad():
            output = training.model.sign_log_probs(batch.features, batch.lengths, signs)
        return float(output.given_emission.exp().amax(dim=-1)[0][batch.frame_labels > 0].mean())

    assert largest_probability(1.0) < largest_probability(0.0) - 0.1


def test_a_training_that_is_resumed_ends_with_the_same_weights(small_dataset: Dataset) -> None:
    config = TrainConfig(num_epochs=3, branches=1, hidden_dim=6, hand_dim=4, batch_size=6, recombination=0.5)
    whole = Training(small_dataset, config, CPU)
    epochs = whole.epochs()
    next(epochs)
    state = whole.state()
    for _ in epochs:
        pass
    resumed = Training(small_dataset, config, CPU)
    resumed.restore(state)
    for _ in resumed.epochs():
        pass
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize("without", ["handshape,outline,orientation", "location,contact,movement"])
def test_a_model_without_shape_or_without_place_cannot_recombine(without: str) -> None:
    with pytest.raises(ValueError, match="leaves one of them out"):
        TrainConfig(without=without, recombination=0.5)
