"""The keys of all objects in the store. No other module spells a key."""

import re

from signet.errors import InvalidInput

# Names that users choose become parts of keys. These characters are safe in S3, in file names and in URLs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# The first parts of all keys. A directory that holds others only is no store.
FOLDERS = ("landmarks", "corpora", "datasets", "runs", "models", "reports", "probe", "local")


def check_name(kind: str, name: str) -> str:
    """Return the name, if it can be part of a key.

    Raises:
        InvalidInput: it cannot be part of a key.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(
            f"{name!r} cannot name a {kind}: use 1 to 128 letters, digits, dots, dashes and underscores, and begin "
            "with a letter or digit."
        )
    return name


def clips(corpus: str) -> str:
    """The prefix of the clips of a corpus."""
    return f"landmarks/v1/{check_name('corpus', corpus)}/"


def clip(corpus: str, clip_id: str) -> str:
    """The landmark tensor of a clip."""
    return f"{clips(corpus)}{check_name('clip', clip_id)}.safetensors"


def corpus_manifest(corpus: str) -> str:
    """The manifest of a corpus, written when an extraction has finished."""
    return f"corpora/{check_name('corpus', corpus)}/manifest.json"


def corpus_shards(corpus: str, selection: str) -> str:
    """The prefix of the notes of all finished shards of an extraction."""
    return f"corpora/{check_name('corpus', corpus)}/shards/{check_name('selection', selection)}/"


def corpus_shard(corpus: str, selection: str, shard: str) -> str:
    """The note of a finished shard."""
    return f"{corpus_shards(corpus, selection)}{check_name('shard', shard)}.json"


def dataset_manifest(name: str, version: str) -> str:
    """The manifest of a dataset snapshot, written last."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/manifest.json"


def dataset_shard(name: str, version: str) -> str:
    """The frames of a dataset snapshot."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/shard-00000.safetensors"


def run(run_id: str, file: str) -> str:
    """A file of a training run."""
    return f"runs/{check_name('run', run_id)}/{file}"


def held_out(run_id: str) -> str:
    """The predictions of a run's models for clips that they were not trained on."""
    return run(run_id, "heldout.safetensors")


def models(name: str) -> str:
    """The prefix of the versions and aliases of a model."""
    return f"models/{check_name('model', name)}/"


def model(name: str, version: str, file: str) -> str:
    """A file of a published model."""
    return f"{models(name)}{check_name('model version', version)}/{file}"


def aliases(name: str) -> str:
    """The prefix of the aliases of a model."""
    return f"{models(name)}aliases/"


def alias(name: str, alias: str) -> str:
    """An alias of a model: a name that moves from version to version."""
    return f"{aliases(name)}{check_name('alias', alias)}.json"


def reports() -> str:
    """The prefix of all reports."""
    return "reports/"


def report(report_id: str, file: str) -> str:
    """A file of a report."""
    return f"{reports()}{check_name('report', report_id)}/{file}"
