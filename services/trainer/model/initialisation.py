"""A model that is to be trained: of the kind and size that its configuration wants, and with its first weights."""

from collections.abc import Callable, Sequence

from services.trainer.config.train_config import TrainConfig
from services.trainer.model.recogniser import Architecture, Encoder, Recogniser
from services.trainer.training.masked_prediction import MaskedModel

# Gives a new model, of a vocabulary, the weights to begin with; and a new model of a fold, where each has its own.
Begin = Callable[[Recogniser, Sequence[str]], None]
BeginFold = Callable[[int, Recogniser, Sequence[str]], None]


def new_model(config: TrainConfig, glosses: int) -> Recogniser:
    """A model of this configuration, for so many glosses, with the weights that chance gives."""
    architecture = Architecture(
        classes=glosses + 1,
        branches=config.branches,
        hidden_dim=config.hidden_dim,
        num_layers=config.num_layers,
        hand_dim=config.hand_dim,
        dropout=config.dropout,
        groups=config.groups,
        head=config.head,
        sign_dim=config.sign_dim,
    )
    kind = MaskedModel if config.pretrain else Recogniser
    return kind([Encoder(architecture)])
