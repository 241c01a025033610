"""An ensemble of members is one model: it recognises, is stored and is restored like any other."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, save

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.batches import Clips
from services.trainer.model.build import build_ensemble, new_model, restore_model, serialise_weights
from services.trainer.model.heads import CompetitionHead
from services.trainer.model.sign_model import Architecture, Encoder, SignModel
from services.trainer.training.validate import evaluate
from signet.datasets.snapshot import Dataset
from signet.decoding import ContinuousDecoder
from signet.errors import NotReady

CONFIG = TrainConfig(branches=2, hidden_dim=6)


@pytest.fixture
def members() -> list[SignModel]:
    torch.manual_seed(0)
    return [new_model(CONFIG, 3).eval() for _ in range(3)]


def inputs(dataset: Dataset) -> tuple[torch.Tensor, torch.Tensor]:
    clips = [torch.from_numpy(dataset.clip_frames(clip)) for clip in dataset.split("val")]
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=torch.nan)
    return padded, torch.tensor([len(clip) for clip in clips])


def signs_of(log_probs: torch.Tensor) -> torch.Tensor:
    """Which sign each frame shows, if it shows one: [B, T, C]."""
    return log_probs[..., 1:].softmax(dim=-1)


@torch.no_grad()
def test_which_sign_it_is_is_the_normalised_geometric_mean_of_its_members(
    members: list[SignModel], small_dataset: Dataset
) -> None:
    landmarks, lengths = inputs(small_dataset)
    shares = torch.stack([signs_of(member(landmarks, lengths)) for member in members])
    geometric = shares.prod(dim=0) ** (1 / 3)
    expected = geometric / geometric.sum(dim=-1, keepdim=True)
    log_probs = build_ensemble(members)(landmarks, lengths)
    torch.testing.assert_close(signs_of(log_probs), expected)
    torch.testing.assert_close(log_probs.exp().sum(dim=-1), torch.ones(log_probs.shape[:2]))


@torch.no_grad()
def test_linear_members_answer_the_normalised_geometric_mean(small_dataset: Dataset) -> None:
    config = CONFIG.model_copy(update={"head": "linear"})
    members = [new_model(config, 3).eval() for _ in range(3)]
    landmarks, lengths = inputs(small_dataset)
    geometric = torch.stack([member(landmarks, lengths).exp() for member in members]).prod(dim=0) ** (1 / 3)
    expected = geometric / geometric.sum(dim=-1, keepdim=True)
    torch.testing.assert_close(build_ensemble(members)(landmarks, lengths).exp(), expected)


@torch.no_grad()
def test_members_that_emit_some_frames_apart_still_emit_together() -> None:
    head = CompetitionHead(branches=1, units=8, classes=3)
    inside = torch.ones(1, 20, dtype=torch.bool)

    def says(peak: int) -> torch.Tensor:
        """Mean logits that rise towards a frame, with an open gate, for the first sign."""
        distance = (torch.arange(20.0) - peak).abs()
        sure = torch.ones(20)
        return torch.stack([-2 * distance, 5 * sure, 8 * sure, -8 * sure], dim=-1)[None]

    blank = []
    for logits, branches in ((says(9), 1), (says(11), 1), ((says(9) + says(11)) / 2, 2)):
        blank.append(float(head.log_probs(logits, inside, branches)[..., 0].exp().min()))
    mean_of_answers = (head.log_probs(says(9), inside) + head.log_probs(says(11), inside)).log_softmax(dim=-1)
    assert max(blank[:2]) < 0.3
    assert blank[2] < 0.7, "one expected emission over the three frames between them"
    assert float(mean_of_answers[..., 0].exp().min()) > blank[2]


def test_it_is_as_large_as_all_members_and_one_member_is_no_ensemble(members: list[SignModel]) -> None:
    assert build_ensemble(members).parameter_count == sum(member.parameter_count for member in members)
    assert build_ensemble(members[:1]) is members[0]


def test_it_is_judged_like_a_model(members: list[SignModel], small_dataset: Dataset) -> None:
    clips = Clips.from_dataset(small_dataset, small_dataset.split("val"), torch.device("cpu"))
    decoder = ContinuousDecoder(blank_penalty=1.0)
    # A head without saliency leaves nothing to add up.
    head = members[0].encoders[0].head
    assert isinstance(head, CompetitionHead)
    for parameter in head.timing.parameters():
        torch.nn.init.zeros_(parameter)
    same = build_ensemble([members[0], members[0]])
    judged, alone = evaluate(same, clips, decoder), evaluate(members[0], clips, decoder)
    assert judged.loss == pytest.approx(alone.loss, rel=1e-5)
    assert replace(judged, loss=0.0) == replace(alone, loss=0.0)


def test_the_weights_file_holds_every_member(members: list[SignModel]) -> None:
    tensors = load(serialise_weights(build_ensemble(members)))
    for index, member in enumerate(members):
        prefix = f"encoders.{index}."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        encoder = member.encoders[0].state_dict()
        assert own.keys() == encoder.keys()
        assert all(torch.equal(own[name], value) for name, value in encoder.items())


def test_a_member_is_the_same_again_from_its_file(members: list[SignModel], small_dataset: Dataset) -> None:
    again = restore_model(CONFIG, 3, serialise_weights(members[0]), "x")
    landmarks, lengths = inputs(small_dataset)
    assert torch.equal(again(landmarks, lengths), members[0](landmarks, lengths))


def test_weights_of_other_features_are_refused(members: list[SignModel]) -> None:
    """The same weights on other features would give a wrong answer without a warning."""
    tensors = load(serialise_weights(members[0]))
    with pytest.raises(NotReady, match=r"x was trained by .* computes features differently \(version 1 instead of 2\)"):
        restore_model(CONFIG, 3, save(tensors), "x")


def test_members_of_other_sizes_may_be_one_model(small_dataset: Dataset) -> None:
    several = build_ensemble([SignModel([Encoder(Architecture(classes=4, hidden_dim=size))]).eval() for size in (4, 9)])
    landmarks, lengths = inputs(small_dataset)
    torch.testing.assert_close(several(landmarks, lengths).exp().sum(-1), torch.ones(landmarks.shape[:2]))
