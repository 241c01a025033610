"""The keys of all objects in the store. No other module spells a key."""

import re

from signet.errors import InvalidInput, quote

# Names that users choose become parts of keys. These characters are safe in S3, in file names and in URLs.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
# The rule for people.
NAME_RULE = "use 1 to 128 letters, digits, dots, dashes and underscores, and begin with a letter or digit"

# The first parts of all keys. A directory that holds others only is no store.
FOLDERS = ("landmarks", "corpora", "datasets", "runs", "models", "reports", "probe", "local")


# The folder of a model's aliases, next to those of its versions.
_ALIASES = "aliases"


def is_name(name: str) -> bool:
    """Whether a name can be part of a key."""
    return _NAME.fullmatch(name) is not None and ".." not in name


def check_name(kind: str, name: str) -> str:
    """Return the name, if it can be part of a key.

    Raises:
        InvalidInput: it cannot be part of a key.
    """
    if not is_name(name):
        raise InvalidInput(f"{quote(name)} cannot name a {kind}: {NAME_RULE}.")
    return name


def name_between(key: str, prefix: str, suffix: str) -> str:
    """The name between a prefix and a suffix of a key; "" if the key has another form or the name is not valid."""
    name = key.removeprefix(prefix).removesuffix(suffix)
    return name if key == f"{prefix}{name}{suffix}" and is_name(name) else ""


def _folder_and_file(key: str, prefix: str) -> tuple[str, str]:
    """The folder and the file after a prefix of a key; "" twice if the key has another form."""
    name, _, file = key.removeprefix(prefix).partition("/")
    return (name, file) if key.startswith(prefix) and is_name(name) and file else ("", "")


def clips(corpus: str) -> str:
    """The prefix of the clips of a corpus."""
    return f"landmarks/v1/{check_name('corpus', corpus)}/"


def clip(corpus: str, clip_id: str) -> str:
    """The landmark tensor of a clip."""
    return f"{clips(corpus)}{check_name('clip', clip_id)}.safetensors"


def clip_id(corpus: str, key: str) -> str:
    """The id of the clip with this key; "" if the key is not that of a clip of this corpus."""
    return name_between(key, clips(corpus), ".safetensors")


def corpora() -> str:
    """The prefix of everything about corpora that is no clip."""
    return "corpora/"


def corpus_of_manifest(key: str) -> str:
    """The corpus whose manifest has this key; "" if the key is not that of a manifest."""
    return name_between(key, corpora(), "/manifest.json")


def corpus_manifest(corpus: str) -> str:
    """The manifest of a corpus, written when an extraction has finished."""
    return f"corpora/{check_name('corpus', corpus)}/manifest.json"


def corpus_shards(corpus: str, selection: str) -> str:
    """The prefix of the notes of all finished shards of an extraction."""
    return f"corpora/{check_name('corpus', corpus)}/shards/{check_name('selection', selection)}/"


def corpus_shard(corpus: str, selection: str, shard: str) -> str:
    """The note of a finished shard."""
    return f"{corpus_shards(corpus, selection)}{check_name('shard', shard)}.json"


def extractions() -> str:
    """The prefix of all extractions that services have started. No corpus has a name that begins like this."""
    return "corpora/_extractions/"


def extraction(name: str) -> str:
    """The state of an extraction."""
    return f"{extractions()}{check_name('extraction', name)}.json"


def extraction_name(key: str) -> str:
    """The name of the extraction with this key; "" if the key is not that of an extraction."""
    return name_between(key, extractions(), ".json")


def dataset_manifest(name: str, version: str) -> str:
    """The manifest of a dataset snapshot, written last."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/manifest.json"


def dataset_shard(name: str, version: str) -> str:
    """The frames of a dataset snapshot."""
    return f"datasets/{check_name('dataset', name)}/{check_name('dataset version', version)}/shard-00000.safetensors"


def runs() -> str:
    """The prefix of all training runs."""
    return "runs/"


def run(run_id: str, file: str) -> str:
    """A file of a training run."""
    return f"{runs()}{check_name('run', run_id)}/{file}"


def run_file(key: str) -> tuple[str, str]:
    """The run and the file of a key; "" twice if the key is not that of a file of a run."""
    return _folder_and_file(key, runs())


def held_out(run_id: str) -> str:
    """The predictions of a run's models for clips that they were not trained on."""
    return run(run_id, "heldout.safetensors")


def models(name: str) -> str:
    """The prefix of the versions and aliases of a model."""
    return f"{all_models()}{check_name('model', name)}/"


def all_models() -> str:
    """The prefix of all models."""
    return "models/"


def model_name(key: str) -> str:
    """The model that an object with this key belongs to; "" if the key has another form."""
    return _folder_and_file(key, all_models())[0]


def model_version(name: str, version: str) -> str:
    """The prefix of the files of a published model."""
    if version == _ALIASES:
        raise InvalidInput(f"{quote(version)} cannot name a model version: the aliases are stored under this name.")
    return f"{models(name)}{check_name('model version', version)}/"


def model(name: str, version: str, file: str) -> str:
    """A file of a published model."""
    return f"{model_version(name, version)}{file}"


def model_file(name: str, key: str) -> tuple[str, str]:
    """The version and the file of a key; "" twice if the key is not that of a file of this model."""
    return _folder_and_file(key, models(name))


def aliases(name: str) -> str:
    """The prefix of the aliases of a model."""
    return f"{models(name)}{_ALIASES}/"


def alias(name: str, alias: str) -> str:
    """An alias of a model: a name that moves from version to version."""
    return f"{aliases(name)}{check_name('alias', alias)}.json"


def reports() -> str:
    """The prefix of all reports."""
    return "reports/"


def report(report_id: str, file: str) -> str:
    """A file of a report."""
    return f"{reports()}{check_name('report', report_id)}/{file}"


def report_file(key: str) -> tuple[str, str]:
    """The report and the file of a key; "" twice if the key is not that of a file of a report."""
    return _folder_and_file(key, reports())
