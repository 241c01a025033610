"""Branches of one model: each is trained as if it were alone, and they recognise together."""

import re

import pytest
import torch
from safetensors.torch import save

from services.trainer.config.train_config import TrainConfig
from services.trainer.data.augmentation import Augmentation
from services.trainer.data.batches import Batch, Clips, Sampler
from services.trainer.model.build import build_ensemble, load_first_member, new_model, restore_model, serialise_weights
from services.trainer.model.masked import as_masked
from services.trainer.model.sign_model import SequenceDropout, SignModel
from services.trainer.runs.warm_start import SourceWeights
from services.trainer.training.loop import Training
from services.trainer.training.masked_prediction import hidden_frames, hide_spans_in_batch, huber_sum, target_mask
from services.trainer.training.objective import LossTotals, make_objective
from signet.datasets.snapshot import Dataset
from signet.errors import NotReady

CPU = torch.device("cpu")
CONFIG = TrainConfig(branches=3, hidden_dim=6, hand_dim=4, num_layers=2, batch_size=6, dropout=0.0, num_epochs=2)
GLOSSES = ("apple", "book", "chair")


def batch_of(dataset: Dataset, model: SignModel) -> Batch:
    clips = Clips.from_dataset(dataset, dataset.split("train"), CPU)
    sampler = Sampler(clips, model.features, 6, 2, Augmentation(), torch.Generator().manual_seed(0))
    model.standardise(sampler.epoch_features())
    return next(iter(sampler.epoch()))


def of_branch(tensors: dict[str, torch.Tensor], branch: int) -> dict[str, torch.Tensor]:
    """What of a model's tensors, or of their gradients, is this branch's, by their names in a model of one branch."""
    found = {}
    for name, tensor in tensors.items():
        if ".head." in name or name.startswith("decoders."):
            found[name] = tensor[branch : branch + 1]
        elif ".hand." in name:
            found[name] = torch.unflatten(tensor, 0, (CONFIG.branches, -1))[branch]
        elif lstm := re.fullmatch(r"(encoders\.0\.(?:for|back)wards\.\d+)\.(\d+)\.(\w+)", name):
            if int(lstm[2]) == branch:
                found[f"{lstm[1]}.0.{lstm[3]}"] = tensor
        else:
            found[name] = tensor
    return found


def alone(model: SignModel, config: TrainConfig = CONFIG) -> list[SignModel]:
    """Each branch of a model as a model of its own."""
    models = []
    for branch in range(config.branches):
        one = new_model(config.model_copy(update={"branches": 1}), 3).train(model.training)
        one.load_state_dict(of_branch(model.state_dict(), branch))
        models.append(one)
    return models


def gradients(model: SignModel, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss in the midst of a training, and its gradients."""
    log_probs = model.sign_log_probs(batch.features, batch.lengths, batch.targets)
    loss = make_objective(CONFIG.head, CONFIG.start)(log_probs, batch, 0.5, LossTotals.of(batch))
    learnt = dict(model.named_parameters())
    return float(loss.detach()), dict(zip(learnt, torch.autograd.grad(loss, list(learnt.values())), strict=True))


def test_each_learns_as_if_it_were_alone(small_dataset: Dataset) -> None:
    model = new_model(CONFIG, 3)
    batch = batch_of(small_dataset, model)

    loss, found = gradients(model, batch)

    expected = [gradients(one, batch) for one in alone(model)]
    assert loss == pytest.approx(sum(one for one, _ in expected) / 3)
    for branch, (_, theirs) in enumerate(expected):
        mine = of_branch(found, branch)
        torch.testing.assert_close(mine, {name: gradient / 3 for name, gradient in theirs.items()})


def test_each_leaves_out_units_of_its_own() -> None:
    left_out = SequenceDropout(0.5)(torch.ones(3, 2, 5, 40)) == 0
    assert (left_out == left_out[:, :, :1]).all(), "the same in all frames"
    rows = left_out[:, :, 0].flatten(0, 1)
    assert len({tuple(row.tolist()) for row in rows}) == 6


@torch.no_grad()
def test_they_answer_as_the_ensemble_of_as_many_models_does(small_dataset: Dataset) -> None:
    model = new_model(CONFIG, 3).eval()
    batch = batch_of(small_dataset, model)

    read = model.log_probs(batch.features, batch.lengths)
    ensemble = build_ensemble(alone(model))
    torch.testing.assert_close(read, ensemble.log_probs(batch.features, batch.lengths))
    assert not torch.allclose(read, alone(model)[0].log_probs(batch.features, batch.lengths), atol=1e-3)


def test_they_begin_apart_and_all_are_trained(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}

    list(training.epochs())

    after = training.model.state_dict()
    learnt = dict(training.model.named_parameters())
    assert {name for name in learnt if torch.equal(before[name], after[name])} == set()
    assert len({float(of_branch(before, branch)["encoders.0.hand.0.weight"].sum()) for branch in range(3)}) == 3


def test_an_ensemble_of_them_is_kept_member_by_member(small_dataset: Dataset) -> None:
    members = [new_model(CONFIG, 3).eval() for _ in range(2)]
    model = build_ensemble(members)

    again = restore_model(CONFIG, 3, serialise_weights(model), "x")

    assert (len(again.encoders), again.branch_count) == (2, 6)
    batch = batch_of(small_dataset, model)
    model.standardise(batch.features[0])
    again.standardise(batch.features[0])
    assert torch.equal(again.log_probs(batch.features, batch.lengths), model.log_probs(batch.features, batch.lengths))
    first = load_first_member(serialise_weights(model))
    assert first.keys() == members[0].state_dict().keys()


@pytest.mark.parametrize("name", ["encoders.1.mean", "encoders.999999999999.mean"])
def test_a_file_with_other_members_than_a_model_of_the_configuration_has_is_refused(name: str) -> None:
    tensors = new_model(CONFIG, 3).state_dict()
    with pytest.raises(NotReady, match="x was trained by another version"):
        restore_model(CONFIG, 3, save(tensors | {name: tensors["encoders.0.mean"].clone()}), "x")
    fewer = new_model(CONFIG.model_copy(update={"branches": 2}), 3).state_dict()
    with pytest.raises(NotReady, match="x was trained by another version"):
        restore_model(CONFIG, 3, save(fewer), "x")


@pytest.mark.parametrize("pretrain", [False, True])
def test_each_begins_with_what_its_own_has_learnt(pretrain: bool) -> None:
    config = CONFIG.model_copy(update={"pretrain": pretrain})
    source, model = new_model(config, 3), new_model(CONFIG, 3)

    SourceWeights("x", config, GLOSSES, serialise_weights(source)).initialise(model, GLOSSES)

    theirs = source.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]) != (pretrain and ".head." in name and "sharpness" not in name)


def test_pretrained_together_each_branch_learns_as_if_it_were_alone(small_dataset: Dataset) -> None:
    config = CONFIG.model_copy(update={"pretrain": True})
    model = new_model(config, 3)
    batch = hide_spans_in_batch(batch_of(small_dataset, model), torch.Generator().manual_seed(0))

    def loss(one: SignModel) -> torch.Tensor:
        residuals = as_masked(one).residuals(batch.features, batch.lengths, hidden_frames(batch))
        return huber_sum(residuals, target_mask(batch, one.features))

    torch.testing.assert_close(loss(model), torch.stack([loss(one) for one in alone(model, config)]).mean())
