"""Models that come with the package, so that signs are recognised without a training: `asl100`.

A model is a folder with the files of a published version: its card `model.json`, its graph, its parity vector and the
embeddings of clips of its signs. The card has the sha256 of the other files. `make bundled-model` makes the folder.
"""

from signet.pretrained.bundled import (
    ASL100,
    MAX_BYTES,
    bundled_folder,
    is_bundled,
    read_bundled_card,
    read_bundled_file,
)
from signet.pretrained.current import find_current_version

__all__ = [
    "ASL100",
    "MAX_BYTES",
    "bundled_folder",
    "find_current_version",
    "is_bundled",
    "read_bundled_card",
    "read_bundled_file",
]
