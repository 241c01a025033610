"""Augmentation and batches: every clip once, every label in its place, nothing invented."""

import torch

from services.trainer.data.augmentation import Augmentation, draw_lengths, draw_sample_times
from services.trainer.data.batches import Batch, Clips, Sampler
from services.trainer.features.phonology import USED_JOINTS, Features
from signet.datasets.snapshot import Dataset
from signet.landmarks import SAMPLES_PER_FRAME


def sampler(dataset: Dataset, seed: int = 0, batch_size: int = 5) -> Sampler:
    clips = Clips.from_dataset(dataset, dataset.split("train"), torch.device("cpu"))
    return Sampler(clips, Features(), batch_size, 3, Augmentation(), torch.Generator().manual_seed(seed))


def test_an_epoch_shows_every_training_clip_once(small_dataset: Dataset) -> None:
    labels: list[int] = []
    for batch in sampler(small_dataset).epoch():
        for targets, count in zip(batch.targets, batch.target_lengths, strict=True):
            labels += targets[:count].tolist()
    assert sorted(labels) == sorted(small_dataset.label(clip) for clip in small_dataset.split("train"))


def test_signs_stand_in_the_frames_in_the_order_of_the_targets(small_dataset: Dataset) -> None:
    seen = set()
    for seed in range(4):
        for batch in sampler(small_dataset, seed).epoch():
            assert torch.equal(batch.inside.sum(dim=1), batch.lengths)
            for row, count in enumerate(batch.target_lengths):
                path = torch.unique_consecutive(batch.frame_labels[row])
                assert path[path > 0].tolist() == batch.targets[row, :count].tolist()
                assert (batch.frame_labels[row, batch.lengths[row] :] == 0).all()
                seen.add(int(count))
    assert seen == {1, 2, 3}


def test_parts_of_like_length_hold_each_sequence_once_and_little_padding() -> None:
    lengths = torch.tensor([90, 3, 5, 4, 88, 4])
    inside = torch.arange(90)[None, :] < lengths[:, None]
    numbers = torch.arange(6)[:, None]
    batch = Batch((numbers * inside)[..., None].float(), lengths, numbers, lengths, numbers * inside, inside)
    assert [part.lengths.tolist() for part in batch.split_by_length()] == [[3, 4, 4, 5, 88, 90]], (
        "a cut saves 340 frames"
    )
    many = Batch(*(torch.cat([column] * 2) for column in vars(batch).values()))
    short, long = many.split_by_length()
    assert (short.lengths.tolist(), long.lengths.tolist()) == ([3, 3, 4, 4, 4, 4, 5, 5], [88, 88, 90, 90])
    assert (short.features.shape, long.features.shape) == ((8, 5, 1), (4, 90, 1))
    for part in (short, long):
        for row, number in enumerate(part.targets[:, 0]):
            assert part.lengths[row] == part.target_lengths[row] == lengths[number] == part.inside[row].sum()
            assert (part.frame_labels[row, : lengths[number]] == number).all()
            assert (part.features[row, : lengths[number]] == number).all()


def test_a_clip_that_is_not_bent_is_seen_at_its_instants(small_dataset: Dataset) -> None:
    """Half as fast, there are twice the frames, of which each other lies between two that a model sees."""
    device, train = torch.device("cpu"), small_dataset.split("train")
    still = Augmentation(**dict.fromkeys(vars(Augmentation()), 0.0))
    clips = Clips.from_dataset(small_dataset, train, device)
    drawn = Sampler(clips, Features(), 5, 1, still, torch.Generator())
    lengths = 2 * clips.lengths - 1
    seen, _ = drawn._augmented(torch.arange(len(clips)), lengths)
    for row, clip in enumerate(train):
        instants = torch.from_numpy(small_dataset.clip_samples(clip))[:, :, USED_JOINTS].flatten(0, 1).nan_to_num()
        at = torch.arange(int(lengths[row])) * SAMPLES_PER_FRAME / 2
        low = at.floor().long()
        between = torch.lerp(instants[low], instants[at.ceil().long()], (at - low)[:, None, None])
        assert torch.allclose(seen[:, :, row, : lengths[row]], between.permute(2, 1, 0), atol=1e-5)


def test_an_older_snapshot_with_one_instant_a_frame_is_learnt_from(small_dataset: Dataset) -> None:
    older = Dataset(small_dataset.manifest, small_dataset.samples[:, :1])
    (before, there), (now, here) = (
        Clips.from_dataset(dataset, small_dataset.split("val"), torch.device("cpu")).padded()
        for dataset in (older, small_dataset)
    )
    assert torch.equal(before, now), "what a model sees is the same"
    assert torch.equal(there, here)
    for old, new in zip(sampler(older).epoch(), sampler(small_dataset).epoch(), strict=True):
        assert torch.equal(old.targets, new.targets)
        assert old.features.shape == new.features.shape


def test_equal_seeds_give_equal_batches_and_others_do_not(small_dataset: Dataset) -> None:
    first, again, other = (next(sampler(small_dataset, seed).epoch()).features for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_time_only_runs_forward_and_stays_within_the_clip() -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 120, (500,), generator=generator)
    for _ in range(5):
        warped = draw_lengths(lengths, Augmentation(), generator)
        times = draw_sample_times(lengths, warped, Augmentation(), generator)
        steps = torch.arange(times.shape[1])[None, :]
        inside = steps < warped[:, None]
        assert (times[inside] >= 0).all()
        assert (times <= lengths[:, None] - 1).all()
        assert (times.diff(dim=1)[inside[:, 1:]] >= -1e-4).all()


def test_every_augmented_frame_is_finite(small_dataset: Dataset) -> None:
    for batch in sampler(small_dataset, batch_size=64).epoch():
        assert torch.isfinite(batch.features).all()


def test_a_batch_s_parts_hold_each_of_its_sequences_once_and_in_order(small_dataset: Dataset) -> None:
    batch = next(sampler(small_dataset, batch_size=7).epoch())
    for count in (1, 2, 3, 100):
        parts = batch.split(count)
        assert len(parts) == min(count, len(batch))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for name, whole in vars(batch).items():
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), whole)


def test_a_choice_of_clips_is_even_and_their_parts_are_all_of_them(small_dataset: Dataset) -> None:
    clips = Clips.from_dataset(small_dataset, small_dataset.split("train"), torch.device("cpu"))
    assert clips.every_nth(5).starts.tolist() == clips.starts.tolist()[::5]
    parts = clips.split(4)
    assert [len(part) for part in parts] == [5, 5, 4, 4]
    assert torch.cat([part.labels for part in parts]).tolist() == clips.labels.tolist()
