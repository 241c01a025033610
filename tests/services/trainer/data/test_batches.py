"""Batches: every clip once in each epoch, and every label in its frames."""

import pytest
import torch

from services.trainer.data import batches
from services.trainer.data.augmentation import Augmentation, draw_lengths, draw_sample_times
from services.trainer.data.batches import Batch, Clips, Sampler, find_left_handed
from services.trainer.features.phonology import LEFT_HAND, RIGHT_HAND, USED_JOINTS, Features
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
    times = draw_sample_times(clips.lengths, lengths, still, drawn.generator)
    seen, _ = drawn._augment(torch.arange(len(clips)), times)
    for row, clip in enumerate(train):
        instants = torch.from_numpy(small_dataset.clip_samples(clip))[:, :, USED_JOINTS].flatten(0, 1).nan_to_num()
        at = torch.arange(int(lengths[row])) * SAMPLES_PER_FRAME / 2
        low = at.floor().long()
        between = torch.lerp(instants[low], instants[at.ceil().long()], (at - low)[:, None, None])
        assert torch.allclose(seen[:, :, row, : lengths[row]], between.permute(2, 1, 0), atol=1e-5)


def test_an_older_snapshot_with_one_instant_a_frame_is_learnt_from(small_dataset: Dataset) -> None:
    older = Dataset(small_dataset.manifest, small_dataset.samples[:, :1])
    (before, present_before), (after, present_after) = (
        Clips.from_dataset(dataset, small_dataset.split("val"), torch.device("cpu")).padded()
        for dataset in (older, small_dataset)
    )
    assert torch.equal(before, after), "what a model sees is the same"
    assert torch.equal(present_before, present_after)
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
    assert clips.select(slice(None, None, 5)).starts.tolist() == clips.starts.tolist()[::5]
    parts = clips.split(4)
    assert [len(part) for part in parts] == [5, 5, 4, 4]
    assert torch.cat([part.labels for part in parts]).tolist() == clips.labels.tolist()


STILL = Augmentation(**dict.fromkeys(vars(Augmentation()), 0.0))


def still_sampler(dataset: Dataset, batch_size: int, longest: int, seed: int = 0) -> tuple[Clips, Sampler]:
    """A sampler that changes no clip."""
    clips = Clips.from_dataset(dataset, dataset.split("train"), torch.device("cpu"))
    return clips, Sampler(clips, Features(), batch_size, longest, STILL, torch.Generator().manual_seed(seed))


def middle(length: int) -> list[bool]:
    """Which frames of a clip lie, with their middles, in its span from 0.3 up to and without 0.7."""
    return [0.3 <= (frame + 0.5) / length < 0.7 for frame in range(length)]


@pytest.mark.parametrize("together", [4, 64])
def test_a_sequence_is_its_clips_one_after_the_other_with_the_middle_of_each_labelled(
    small_dataset: Dataset, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_CLIPS_AT_A_TIME", together)
    clips, sampler = still_sampler(small_dataset, batch_size=7, longest=3)
    rows = Features()(*clips.padded(), clips.lengths)
    own = [row[:length] for row, length in zip(rows, clips.lengths, strict=True)]
    orders = []
    for _ in range(3):
        seen = []
        for batch in sampler.epoch():
            for row, count in enumerate(batch.target_lengths.tolist()):
                frame = 0
                for target in batch.targets[row, :count].tolist():
                    (clip,) = [
                        number
                        for number, features in enumerate(own)
                        if frame + len(features) <= batch.features.shape[1]
                        and torch.allclose(batch.features[row, frame : frame + len(features)], features, atol=2e-3)
                    ]
                    end = frame + len(own[clip])
                    assert target == clips.labels[clip]
                    expected = [target * inside for inside in middle(len(own[clip]))]
                    assert batch.frame_labels[row, frame:end].tolist() == expected
                    seen.append(clip)
                    frame = end
                assert batch.lengths[row] == frame
                assert batch.inside[row].tolist() == [number < frame for number in range(batch.inside.shape[1])]
                assert (batch.features[row, frame:] == 0).all()
                assert (batch.targets[row, count:] == 0).all()
        assert sorted(seen) == list(range(len(clips)))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2], "in another order each time"


def test_sequences_of_one_up_to_the_most_signs_are_equally_frequent(small_dataset: Dataset) -> None:
    _, sampler = still_sampler(small_dataset, batch_size=6, longest=3)
    counts = [int(batch.targets.shape[1]) for _ in range(100) for batch in sampler.epoch()]
    assert len(counts) == 300
    for signs in (1, 2, 3):
        assert counts.count(signs) / len(counts) == pytest.approx(1 / 3, abs=0.07)


@pytest.mark.parametrize(("batch_size", "sizes"), [(7, [7, 7, 4]), (6, [6, 6, 6]), (18, [18]), (40, [18])])
def test_batches_have_the_given_number_of_clips_and_the_last_one_the_rest(
    small_dataset: Dataset, batch_size: int, sizes: list[int]
) -> None:
    _, sampler = still_sampler(small_dataset, batch_size, longest=3)
    assert [int(batch.target_lengths.sum()) for batch in sampler.epoch()] == sizes
    assert sampler.batches_per_epoch == len(sizes)


def one_clip(present: list[bool]) -> tuple[Clips, Sampler]:
    """A clip of one sample a frame whose left hand is present in these frames, and whose joints are 10, 20, 30, …"""
    joints = 10.0 * torch.arange(1, len(present) + 1)[:, None].expand(-1, 3 * len(USED_JOINTS))
    parts = torch.tensor([[True, left, True] for left in present])
    length = len(present)
    clips = Clips(
        joints=joints,
        present=parts,
        samples_per_frame=1,
        starts=torch.tensor([0]),
        lengths=torch.tensor([length]),
        labels=torch.tensor([1]),
        active=torch.tensor([[0, length]]),
        left_handed=torch.tensor([False]),
    )
    return clips, Sampler(clips, Features(), 1, 1, STILL, torch.Generator())


def test_between_a_frame_with_a_hand_and_one_without_the_nearer_one_decides() -> None:
    _, sampler = one_clip([True, True, False, True])
    joints, present = sampler._augment(torch.tensor([0]), torch.arange(13)[None] / 4)  # a quarter of a frame apart
    left = joints[0, LEFT_HAND.start, 0]
    assert present[1, 0].tolist() == [True] * 7 + [False] * 4 + [True] * 2
    # Between two frames that have it, it moves; next to one that has none, it stays.
    assert left[:7].tolist() == pytest.approx([10, 12.5, 15, 17.5, 20, 20, 20])
    assert left[11:].tolist() == [40, 40]
    right = joints[0, RIGHT_HAND.start, 0]
    assert right.tolist() == pytest.approx([10 + 2.5 * step for step in range(13)])
    assert present[0].all()
    assert present[2].all()


def test_a_batch_is_cut_where_the_cut_saves_the_frames_that_it_costs() -> None:
    def parts(lengths: list[int]) -> list[list[int]]:
        rows = torch.tensor(lengths)
        inside = torch.arange(max(lengths))[None, :] < rows[:, None]
        numbers = torch.ones(len(lengths), 1, dtype=torch.long)
        batch = Batch(inside[..., None].float(), rows, numbers, numbers[:, 0], inside.long(), inside)
        return [part.lengths.tolist() for part in batch.split_by_length()]

    # Eight sequences of 36 frames would be padded by 64 each: 512 frames.
    assert parts([36] * 8 + [100]) == [[36] * 8, [100]]
    assert parts([37] * 8 + [100]) == [[37] * 8 + [100]]
    assert parts([100, 36, 36, 300, 36, 36, 36, 36, 36, 36, 300, 100, 100, 100]) == [[36] * 8, [100] * 4, [300] * 2]


def test_labels_are_repeated_with_their_lengths_and_features_are_left_out(small_dataset: Dataset) -> None:
    batch = next(sampler(small_dataset).epoch())
    twice = batch.repeat_without_features(2)
    assert twice.features.shape == (2 * len(batch), batch.features.shape[1], 0)
    for name in ("lengths", "targets", "target_lengths", "frame_labels", "inside"):
        assert torch.equal(getattr(twice, name), torch.cat([getattr(batch, name)] * 2))


def test_the_clips_of_a_signer_decide_together_which_hand_is_dominant(small_dataset: Dataset) -> None:
    clips = [clip.model_copy(update={"signer": "s"}) for clip in small_dataset.manifest.clips]
    assert len(set(find_left_handed(small_dataset, clips))) == 1
    alone = [clip.model_copy(update={"signer": ""}) for clip in clips]
    assert find_left_handed(small_dataset, alone) == [find_left_handed(small_dataset, [clip])[0] for clip in alone]
