"""Encoders side by side in one model: each learns as if it were alone, and they recognise together."""

import pytest
import torch
from safetensors.torch import save

from services.trainer import weights
from services.trainer.aims import Recognition
from services.trainer.augment import Augmentation
from services.trainer.batches import Batch, Clips, Sampler
from services.trainer.config import TrainConfig
from services.trainer.ensemble import together
from services.trainer.initialisation import new_model
from services.trainer.model import Recogniser
from services.trainer.pretraining import MaskedModel, MaskedPrediction
from services.trainer.start import Start
from services.trainer.training import Training
from signet.dataset import Dataset

CPU = torch.device("cpu")
CONFIG = TrainConfig(branches=3, hidden_dim=6, hand_dim=4, batch_size=6, dropout=0.0, num_epochs=2)
GLOSSES = ("apple", "book", "chair")


def batch_of(dataset: Dataset, model: Recogniser) -> Batch:
    clips = Clips.of(dataset, dataset.split("train"), CPU)
    sampler = Sampler(clips, model.features, 6, 2, Augmentation(), torch.Generator().manual_seed(0))
    model.standardise(sampler.frames())
    return next(iter(sampler.epoch()))


def gradients(model: Recogniser, batch: Batch) -> tuple[float, list[torch.Tensor]]:
    """The loss in the midst of a training, and its gradients."""
    aim = Recognition(CONFIG)
    loss = aim.loss(aim.answer(model, batch, False), batch, 0.5, aim.totals(batch, 1))
    return float(loss.detach()), list(torch.autograd.grad(loss, list(model.parameters())))


def test_each_learns_as_if_it_were_alone(small_dataset: Dataset) -> None:
    model = new_model(CONFIG, 3)
    batch = batch_of(small_dataset, model)

    loss, found = gradients(model, batch)

    alone = [gradients(Recogniser([encoder]), batch) for encoder in model.encoders]
    assert loss == pytest.approx(sum(one for one, _ in alone) / 3)
    expected = [gradient / 3 for _, several in alone for gradient in several]
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_they_answer_as_the_ensemble_of_as_many_models_does(small_dataset: Dataset) -> None:
    model = new_model(CONFIG, 3).eval()
    batch = batch_of(small_dataset, model)

    answer = model.of_signs(batch.features, batch.lengths, batch.targets, True)

    read = model.read(batch.features, batch.lengths)
    ensemble = together([Recogniser([encoder]) for encoder in model.encoders])
    assert torch.equal(read, ensemble.read(batch.features, batch.lengths))
    assert answer.whole is not None
    torch.testing.assert_close(answer.whole, read)
    assert not torch.allclose(read, Recogniser(model.encoders[:1]).read(batch.features, batch.lengths), atol=1e-3)


def test_they_begin_apart_and_all_are_trained(small_dataset: Dataset) -> None:
    training = Training(small_dataset, CONFIG, CPU)
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}

    list(training.epochs())

    after = training.model.state_dict()
    learnt = dict(training.model.named_parameters())
    assert {name for name in learnt if torch.equal(before[name], after[name])} == set()
    assert len({float(before[f"encoders.{index}.hand.0.weight"].sum()) for index in range(3)}) == 3


def test_an_ensemble_of_them_is_kept_encoder_by_encoder(small_dataset: Dataset) -> None:
    members = [new_model(CONFIG, 3).eval() for _ in range(2)]
    model = together(members)

    again = weights.restored(CONFIG, 3, weights.dump(model))

    assert len(again.encoders) == 6
    batch = batch_of(small_dataset, model)
    model.standardise(batch.features[0])
    again.standardise(batch.features[0])
    assert torch.equal(again.read(batch.features, batch.lengths), model.read(batch.features, batch.lengths))
    first = weights.first(weights.dump(model), CONFIG.branches)
    assert first.keys() == members[0].state_dict().keys()


@pytest.mark.parametrize("name", ["encoders.2.mean", "encoders.999999999999.mean"])
def test_a_file_with_other_encoders_than_the_configuration_has_is_refused(name: str) -> None:
    tensors = new_model(CONFIG, 3).state_dict()
    others = {one: tensor for one, tensor in tensors.items() if not one.startswith("encoders.2.")}
    with pytest.raises(RuntimeError, match="encoders"):
        weights.restored(CONFIG, 3, save(others | {name: tensors["encoders.0.mean"].clone()}))
    with pytest.raises(RuntimeError, match="encoders"):
        weights.restored(CONFIG, 3, save(others))


@pytest.mark.parametrize("pretrain", [False, True])
def test_each_begins_with_what_its_own_has_learnt(pretrain: bool) -> None:
    config = CONFIG.model_copy(update={"pretrain": pretrain})
    source, model = new_model(config, 3), new_model(CONFIG, 3)

    Start("x", config, GLOSSES, weights.dump(source), (), ()).begin(model, GLOSSES)

    theirs = source.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, theirs[name]) != (pretrain and ".head." in name and "sharpness" not in name)


def test_pretrained_side_by_side_each_learns_as_if_it_were_alone(small_dataset: Dataset) -> None:
    model = new_model(CONFIG.model_copy(update={"pretrain": True}), 3)
    assert isinstance(model, MaskedModel)
    aim = MaskedPrediction(model.features)
    batch = aim.prepared(batch_of(small_dataset, model), torch.Generator().manual_seed(0))
    asked = aim.totals(batch, 1)

    loss = aim.loss(aim.answer(model, batch, False), batch, 0.5, asked)

    alone = []
    for encoder, decoder in zip(model.encoders, model.decoders, strict=True):
        one = MaskedModel([encoder])
        one.decoders[0] = decoder
        alone.append(aim.loss(aim.answer(one, batch, False), batch, 0.5, asked))
    torch.testing.assert_close(loss, torch.stack(alone).mean())
