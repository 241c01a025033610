"""What callers know of a model that can answer, wherever its session is."""

from signet.parity import PARITY_FILE
from signet.registry import ModelCard


class ServableModel:
    """One version of a model that can answer: its card, and the memory that it needs."""

    def __init__(self, card: ModelCard, memory_bytes: int = 0) -> None:
        """`memory_bytes` counts the sessions of all processes."""
        self.card = card
        self.name = f"{card.name}/{card.version}"
        self.memory_bytes = memory_bytes

    @property
    def has_parity_vector(self) -> bool:
        """Whether the version has a parity vector, so that its answers were compared with the trainer's."""
        return PARITY_FILE in self.card.files

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The glosses; class c of the graph is vocabulary[c - 1]."""
        return self.card.vocabulary
