"""Models that come with the package, so that signs are recognised without a training: `asl100`.

A model is a folder with the files of a published version: its card `model.json`, its graph and its parity vector. The
card has the sha256 of the other files. `python -m services.trainer.bundling` makes the folder.
"""

from signet.pretrained.bundled import (
    ASL100,
    MAX_BYTES,
    bundled_folder,
    is_bundled,
    read_bundled_card,
    read_bundled_file,
)

__all__ = ["ASL100", "MAX_BYTES", "bundled_folder", "is_bundled", "read_bundled_card", "read_bundled_file"]
