"""The files of a published version, read and checked, before it is loaded."""

from dataclasses import dataclass

from services.evaluator.serving.graph_check import try_model
from signet import registry
from signet.parity import PARITY_FILE
from signet.pretrained import is_bundled, read_bundled_card, read_bundled_file
from signet.store import ObjectStore

ONNX_FILE = "model.onnx"


@dataclass(frozen=True, eq=False)
class StoredVersion:
    """The files of a version that serving needs."""

    card: registry.ModelCard
    graph: bytes
    parity: bytes | None  # the parity vector

    @classmethod
    def read(cls, store: ObjectStore, name: str, version: str) -> "StoredVersion":
        """Read a version from the store, or from the package if it comes with Signet; `version` is no alias.

        Raises:
            NotFound: there is no such version.
            DataLoss: it is damaged.
        """
        if is_bundled(name, version):
            return cls.read_bundled()
        card = registry.read_card(store, name, version)
        graph = registry.read_file(store, card, ONNX_FILE)
        return cls(card, graph, registry.read_file(store, card, PARITY_FILE) if PARITY_FILE in card.files else None)

    @classmethod
    def read_bundled(cls) -> "StoredVersion":
        """Read the model that comes with the package.

        Raises:
            NotFound: this installation has none.
            DataLoss: it is damaged.
        """
        card = read_bundled_card()
        return cls(card, read_bundled_file(card, ONNX_FILE), read_bundled_file(card, PARITY_FILE))

    def measure_memory(self) -> int:
        """The bytes of memory that one process needs for the model, measured in its trial.

        Raises:
            DataLoss: the model does not pass the trial.
        """
        return try_model(self.card, self.graph)
