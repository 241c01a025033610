"""Named recipes: the settings for a number of glosses.

A preset is part of a configuration. A value that is given replaces that of the preset; a value in neither is the
default. A stored configuration holds every value, so that a preset may change without changing what a run was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = int | float | str | bool


@dataclass(frozen=True)
class Preset:
    """One recipe."""

    about: str  # its purpose, in a few words
    values: Mapping[str, Value] = field(default_factory=dict)  # the fields of `TrainConfig` that it sets


_THOUSANDS: Mapping[str, Value] = {"branches": 3, "hidden_dim": 96, "hand_dim": 32, "sign_dim": 128, "batch_size": 128}

PRESETS: Mapping[str, Preset] = {
    "phase1": Preset(
        "20 signs",
        {
            "max_glosses": 20,
            "branches": 4,
            "hidden_dim": 48,
            "hand_dim": 16,
            "signing": True,
            "recombination": 0.5,
        },
    ),
    "signs50": Preset("50 signs", {"max_glosses": 50, "branches": 4, "hidden_dim": 48, "hand_dim": 16}),
    "signs100": Preset(
        "100 signs",
        {"max_glosses": 100, "branches": 6, "hidden_dim": 96, "hand_dim": 32, "num_epochs": 80, "batch_size": 64},
    ),
    "signs300": Preset(
        "300 signs",
        {"max_glosses": 300, "branches": 3, "hidden_dim": 96, "hand_dim": 32, "num_epochs": 60, "batch_size": 64},
    ),
    "signs1000": Preset("1,000 signs", {"max_glosses": 1000, **_THOUSANDS, "num_epochs": 30}),
    "signs2000": Preset("2,000 signs", {"max_glosses": 2000, **_THOUSANDS, "num_epochs": 25}),
    "tiny": Preset("the smallest that still recognises", {"branches": 1, "hidden_dim": 24, "hand_dim": 12}),
    "few": Preset("own signs with some ten clips of each", {"max_glosses": 0, "batch_size": 8, "ema_decay": 0.98}),
    "large": Preset(
        "the most that a few thousand clips can fill",
        {"branches": 8, "hidden_dim": 96, "hand_dim": 32, "num_epochs": 80, "batch_size": 64},
    ),
}
