"""Joined clips: whole, or without their rests and with movements between the signs."""

import torch

from services.trainer.data.batches import Clips
from services.trainer.data.joining import JoiningLimits, PlacedClips, join, place_bodies
from services.trainer.features.phonology import LEFT_HAND, USED_JOINTS, Features
from signet.datasets.snapshot import Dataset

# Three clips of 4, 5 and 6 frames, whose joints are at 0, 1, 2, … and whose movements are the frames 1 to 2, 1 to 3 and
# 2 to 4.
LENGTHS = torch.tensor([4, 5, 6])
STARTS = torch.tensor([0, 4, 9])
ACTIVE = torch.tensor([[1, 3], [1, 4], [2, 5]])


def placed(left_present: torch.Tensor | None = None) -> PlacedClips:
    rows = torch.arange(15.0)[:, None].expand(-1, 3 * len(USED_JOINTS)).contiguous()
    present = torch.ones((15, 3), dtype=torch.bool)
    if left_present is not None:
        present[:, 1] = left_present
    return PlacedClips(rows, present, STARTS, LENGTHS, ACTIVE)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_whole_clips_follow_each_other_without_a_transition() -> None:
    joined = join(placed(), torch.tensor([[1, 0, 2], [2, -1, -1]]), JoiningLimits(cut=0), generator())
    assert joined.lengths.tolist() == [15, 6]
    assert joined.joints[0, 0, 0].tolist() == [4, 5, 6, 7, 8, 0, 1, 2, 3, 9, 10, 11, 12, 13, 14]
    assert joined.joints[0, 0, 1, :6].tolist() == [9, 10, 11, 12, 13, 14]
    assert joined.inside.sum(dim=1).tolist() == [15, 6]
    assert not joined.present[:, 1, 6:].any()
    assert joined.clip[0].tolist() == [0] * 5 + [1] * 4 + [2] * 6
    # The movement of clip 1 is the frames 1 to 3.
    assert torch.allclose(joined.share[0, :5], (torch.arange(5) - 1 + 0.5) / 3)


def test_rests_are_cut_and_hands_jump_without_transitions() -> None:
    joined = join(placed(), torch.tensor([[0, 1, 2]]), JoiningLimits(cut=1, slack=0, transition=0), generator())
    assert joined.joints[0, 0, 0].tolist() == [1, 2, 5, 6, 7, 11, 12, 13]
    expected = [0.25, 0.75] + [(frame + 0.5) / 3 for frame in range(3)] * 2
    assert torch.allclose(joined.share[0], torch.tensor(expected))


def test_a_slack_never_leaves_the_clip() -> None:
    chosen = torch.tensor([[0, 1, 2]]).expand(50, 3)
    joined = join(placed(), chosen, JoiningLimits(cut=1, slack=9, transition=0), generator())
    for row, clip, inside in zip(joined.joints[0, 0], joined.clip, joined.inside, strict=True):
        for number in range(3):
            frames = row[inside & (clip == number)]
            first, last = STARTS[number] + ACTIVE[number] - torch.tensor([0, 1])
            assert STARTS[number] <= frames[0] <= first
            assert last <= frames[-1] < STARTS[number] + LENGTHS[number]
            assert torch.equal(frames, torch.arange(frames[0], frames[-1] + 1))


def test_hands_accelerate_and_brake_from_one_sign_to_the_next() -> None:
    chosen = torch.tensor([[0, 2]]).expand(50, 2)
    joined = join(placed(), chosen, JoiningLimits(cut=1, slack=0, transition=4), generator())
    seen = set()
    for row, clip, share, length in zip(joined.joints[0, 0], joined.clip, joined.share, joined.lengths, strict=True):
        frames = int(length) - 5
        moves = row[2 : 2 + frames]
        time = torch.arange(1, frames + 1) / (frames + 1)
        assert torch.allclose(moves, 2 + 9 * (3 * time**2 - 2 * time**3))
        assert share[2 : 2 + frames].isnan().all()
        assert (clip[2:length] == 1).all()
        seen.add(frames)
    assert seen == {0, 1, 2, 3, 4}


def test_a_hand_that_one_sign_lacks_is_present_in_the_nearer_half_of_a_transition() -> None:
    joined = join(
        placed(torch.arange(15) < 4),
        torch.tensor([[0, 2]] * 50),
        JoiningLimits(cut=1, slack=0, transition=4),
        generator(),
    )
    row = int((joined.lengths == 9).nonzero()[0, 0])  # a transition of four frames
    assert joined.present[1, row, :9].tolist() == [True] * 4 + [False] * 5
    assert joined.joints[0, LEFT_HAND.start, row, :4].tolist() == [1, 2, 2, 2]


def test_features_do_not_depend_on_the_place_and_the_size_of_the_body(small_dataset: Dataset) -> None:
    clips = Clips.from_dataset(small_dataset, small_dataset.split("train"), torch.device("cpu"))
    joints, present = clips.padded()
    inside = torch.arange(joints.shape[-1]) < clips.lengths[:, None]
    own = Features()(joints, present, clips.lengths)
    for mirrored in (False, True):
        flags = torch.full((len(clips),), mirrored)
        moved = Features()(*place_bodies(joints, present & inside, flags), clips.lengths)
        assert torch.allclose(moved, own, atol=2e-3)
