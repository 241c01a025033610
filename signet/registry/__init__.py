"""Published models: immutable versions, and aliases that move between versions and record their history.

A version is complete or absent: its card, `model.json`, is stored last and deleted first. An alias is one object that
moves by compare-and-swap.
"""

from signet.registry.alias import (
    LATEST,
    PRODUCTION,
    aliases,
    delete_alias,
    move_alias,
    promote,
    read_alias,
    read_aliases,
    resolve,
    rollback,
)
from signet.registry.alias_history import MAX_HISTORY, MAX_REASON_CHARACTERS, Alias, AliasMove
from signet.registry.card import CARD, MAX_BEAM_WIDTH, MAX_PENALTY, SCHEMA, Enrolment, Metrics, ModelCard
from signet.registry.deletion import delete
from signet.registry.publication import new_version, publish, sign
from signet.registry.reading import MAX_FILE_BYTES, file_sizes, model_names, read_card, read_file, versions
from signet.registry.signature import SIGNATURE, check_can_sign, read_signature
from signet.registry.transfer import ImportedModel, export_archive, import_archive

__all__ = [
    "CARD",
    "LATEST",
    "MAX_BEAM_WIDTH",
    "MAX_FILE_BYTES",
    "MAX_HISTORY",
    "MAX_PENALTY",
    "MAX_REASON_CHARACTERS",
    "PRODUCTION",
    "SCHEMA",
    "SIGNATURE",
    "Alias",
    "AliasMove",
    "Enrolment",
    "ImportedModel",
    "Metrics",
    "ModelCard",
    "aliases",
    "check_can_sign",
    "delete",
    "delete_alias",
    "export_archive",
    "file_sizes",
    "import_archive",
    "model_names",
    "move_alias",
    "new_version",
    "promote",
    "publish",
    "read_alias",
    "read_aliases",
    "read_card",
    "read_file",
    "read_signature",
    "resolve",
    "rollback",
    "sign",
    "versions",
]
