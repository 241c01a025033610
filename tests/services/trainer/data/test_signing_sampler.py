"""Sequences that resemble signing: every clip once in each epoch, and every label in its frames."""

from dataclasses import replace

import torch

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Clips, Sampler
from services.trainer.data.joining import JoiningLimits
from services.trainer.data.signing_sampler import SigningSampler
from services.trainer.features.phonology import Features
from services.trainer.training.loop import Training
from signet.datasets.snapshot import Dataset

CPU = torch.device("cpu")
STILL = Augmentation(**dict.fromkeys(vars(Augmentation()), 0.0))


def make_sampler(dataset: Dataset, seed: int, batch_size: int, longest: int, still: bool = False) -> SigningSampler:
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    augmentation = STILL if still else Augmentation()
    return SigningSampler(clips, Features(), batch_size, longest, augmentation, torch.Generator().manual_seed(seed))


def test_an_epoch_shows_every_training_clip_once_and_in_the_order_of_the_targets(small_dataset: Dataset) -> None:
    expected = sorted(small_dataset.label(clip) for clip in small_dataset.split("train"))
    lengths = set()
    for seed in range(4):
        labels: list[int] = []
        sampler = make_sampler(small_dataset, seed, batch_size=5, longest=3)
        batches = list(sampler.epoch())
        assert len(batches) == sampler.batches_per_epoch
        for batch in batches:
            assert torch.isfinite(batch.features).all()
            assert torch.equal(batch.inside.sum(dim=1), batch.lengths)
            for row, count in enumerate(batch.target_lengths.tolist()):
                path = torch.unique_consecutive(batch.frame_labels[row])
                assert path[path > 0].tolist() == batch.targets[row, :count].tolist()
                assert (batch.frame_labels[row, batch.lengths[row] :] == 0).all()
                labels += batch.targets[row, :count].tolist()
                lengths.add(count)
        assert sorted(labels) == expected
    assert lengths == {1, 2, 3}


def test_equal_seeds_give_equal_batches(small_dataset: Dataset) -> None:
    first, again = (next(make_sampler(small_dataset, 1, batch_size=5, longest=3).epoch()) for _ in range(2))
    assert torch.equal(first.features, again.features)


def test_the_middle_of_each_movement_is_labelled(small_dataset: Dataset) -> None:
    sampler = make_sampler(small_dataset, 0, batch_size=1, longest=1, still=True)
    active = sampler.clips.active + torch.tensor([2, -2])
    sampler = replace(sampler, clips=replace(sampler.clips, active=active), joining=JoiningLimits(cut=0))
    for batch in sampler.epoch():
        (length,) = batch.lengths.tolist()
        (clip,) = (sampler.clips.lengths == length).nonzero()[:1, 0].tolist()
        assert length == sampler.clips.lengths[clip]
        labelled = (batch.frame_labels[0] > 0).nonzero()[:, 0].tolist()
        ranges = sampler.clips.active[sampler.clips.lengths == length].tolist()
        middles = [
            [frame for frame in range(length) if 0.3 <= (frame + 0.5 - first) / (last - first) < 0.7]
            for first, last in ranges
        ]
        assert labelled in middles


def test_the_features_of_a_whole_single_clip_are_its_own(small_dataset: Dataset) -> None:
    sampler = replace(make_sampler(small_dataset, 0, batch_size=1, longest=1, still=True), joining=JoiningLimits(cut=0))
    clips = sampler.clips
    own = Features()(*clips.padded(), clips.lengths)
    seen = []
    for batch in sampler.epoch():
        length = int(batch.lengths)
        (clip,) = [
            row
            for row in range(len(clips))
            if clips.lengths[row] == length and torch.allclose(batch.features[0], own[row, :length], atol=2e-3)
        ]
        assert batch.targets.tolist() == [[clips.labels[clip]]]
        seen.append(clip)
    assert sorted(seen) == list(range(len(clips)))


def test_a_training_uses_the_sequences_that_its_configuration_asks_for_and_can_be_resumed(
    small_dataset: Dataset,
) -> None:
    config = TrainConfig(num_epochs=2, branches=2, hidden_dim=6, hand_dim=4, batch_size=6, signing=True)
    assert type(Training(small_dataset, config.model_copy(update={"signing": False}), CPU)._sampler) is Sampler
    whole = Training(small_dataset, config, CPU)
    assert isinstance(whole._sampler, SigningSampler)
    epochs = whole.epochs()
    next(epochs)
    half = whole.state()
    (last,) = epochs
    resumed = Training(small_dataset, config, CPU)
    resumed.restore(half)
    (again,) = resumed.epochs()
    assert again.train_loss == last.train_loss
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
