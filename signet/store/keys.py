"""The keys of the store. Nobody else spells one."""

import re

from signet.errors import InvalidInput

# Names that come from people become parts of keys; these letters are safe in S3, in files and in URLs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(kind: str, name: str) -> str:
    """The name itself, if it can be part of a key.

    Raises:
        InvalidInput: it cannot.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInput(
            f"{name!r} cannot name a {kind}: use 1 to 128 letters, digits, dots, dashes and underscores, and begin "
            "with a letter or digit."
        )
    return name


def clips(corpus: str) -> str:
    """The prefix of a corpus's clips."""
    return f"landmarks/v1/{check_name('corpus', corpus)}/"


def clip(corpus: str, clip_id: str) -> str:
    """One clip's landmark tensor."""
    return f"{clips(corpus)}{check_name('clip', clip_id)}.safetensors"


def corpus_manifest(corpus: str) -> str:
    """What a corpus holds, as of the last extraction that ended."""
    return f"corpora/{check_name('corpus', corpus)}/manifest.json"


def corpus_shards(corpus: str, selection: str) -> str:
    """The prefix of the notes of one extraction's shards that have ended."""
    return f"corpora/{check_name('corpus', corpus)}/shards/{check_name('selection', selection)}/"


def corpus_shard(corpus: str, selection: str, shard: str) -> str:
    """The note of one shard that has ended."""
    return f"{corpus_shards(corpus, selection)}{check_name('shard', shard)}.json"


def dataset_manifest(name: str, version: str) -> str:
    """A dataset snapshot's manifest, written last."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/manifest.json"


def dataset_shard(name: str, version: str) -> str:
    """A dataset snapshot's frames."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/shard-00000.safetensors"


def run(run_id: str, file: str) -> str:
    """One of a training run's files."""
    return f"runs/{check_name('run', run_id)}/{file}"


def held_out(run_id: str) -> str:
    """What a run's models say of clips that they were not trained on."""
    return run(run_id, "heldout.safetensors")


def models(name: str) -> str:
    """The prefix of a model's versions and aliases."""
    return f"models/{check_name('model', name)}/"


def model(name: str, version: str, file: str) -> str:
    """One of a published model's files."""
    return f"{models(name)}{check_name('model version', version)}/{file}"


def aliases(name: str) -> str:
    """The prefix of a model's aliases."""
    return f"{models(name)}aliases/"


def alias(name: str, alias: str) -> str:
    """An alias: a name that moves from version to version."""
    return f"{aliases(name)}{check_name('alias', alias)}.json"


def reports() -> str:
    """The prefix of all reports."""
    return "reports/"


def report(report_id: str, file: str) -> str:
    """One of a report's files."""
    return f"{reports()}{check_name('report', report_id)}/{file}"
