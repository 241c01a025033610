"""What is shown of published versions, also as JSON."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from services.evaluator.reports.report import PUBLISHED, Proportion, Report
from services.evaluator.reports.report_store import list_reports
from signet import registry
from signet.errors import DataLoss, NotFound, SignetError, UntrustedModel, quote
from signet.registry import Alias, ModelCard
from signet.store import ObjectStore

# Cards are read in parallel, because each read waits for the store.
_READERS = 8
# The newest reports are searched for those on a version.
MAX_REPORTS = 200


class VersionSummary(BaseModel):
    """A version in a list."""

    model_config = ConfigDict(frozen=True)

    version: str
    aliases: tuple[str, ...]
    damaged: bool = False  # then all further fields are empty
    untrusted: bool = False  # it has no signature of a trusted key; then it counts as damaged
    created: str = ""
    run_id: str = ""
    dataset_name: str = ""
    dataset_version: str = ""
    glosses: int = 0
    parameters: int = 0
    # The results on the val split when the version was published.
    val: Proportion | None = None
    val_best_path: Proportion | None = None


@dataclass(frozen=True, eq=False)
class VersionDetails:
    """Everything about a version."""

    card: ModelCard
    aliases: dict[str, Alias]  # all aliases of the model, also deleted ones
    file_sizes: dict[str, int]  # of the files that are in the store, in bytes
    reports: tuple[Report, ...]  # the newest report of each split, among the newest reports of the store

    @property
    def named_by(self) -> tuple[str, ...]:
        """The aliases that name this version."""
        return tuple(sorted(name for name, alias in self.aliases.items() if alias.named_version == self.card.version))


def list_versions(store: ObjectStore, name: str, limit: int | None = None) -> list[VersionSummary]:
    """Summaries of the versions of a model, newest first, all or at most `limit`.

    Raises:
        NotFound: no such model is published.
    """
    versions = registry.versions(store, name)[::-1][:limit]
    if not versions:
        others = ", ".join(registry.model_names(store)) or "none"
        raise NotFound(
            f"{store.url}: no model {quote(name)} is published. `signet train` publishes one. Models in this store: "
            f"{others}."
        )
    named = registry.aliases(store, name)
    with ThreadPoolExecutor(_READERS) as readers:
        cards = list(readers.map(lambda version: _read_card(store, name, version), versions))
    return [
        summarise_version(
            version,
            tuple(sorted(alias for alias, target in named.items() if target == version)),
            card if isinstance(card, ModelCard) else None,
            untrusted=isinstance(card, UntrustedModel),
        )
        for version, card in zip(versions, cards, strict=True)
    ]


def summarise_version(
    version: str, aliases: tuple[str, ...], card: ModelCard | None, *, untrusted: bool = False
) -> VersionSummary:
    """The summary of a version; `card` is None if it is damaged or not trusted."""
    if card is None:
        return VersionSummary(version=version, aliases=aliases, damaged=True, untrusted=untrusted)
    val = card.metrics
    return VersionSummary(
        version=version,
        aliases=aliases,
        created=card.created,
        run_id=card.run_id,
        dataset_name=card.dataset_name,
        dataset_version=card.dataset_version,
        glosses=len(card.vocabulary),
        parameters=card.parameters,
        val=_proportion(val.val_correct, val.val_clips),
        val_best_path=_proportion(val.val_greedy_correct, val.val_clips),
    )


def read_details(store: ObjectStore, name: str, version: str) -> VersionDetails:
    """Everything about a version.

    Raises:
        NotFound: there is no such version.
        DataLoss: its card is damaged.
    """
    card = registry.read_card(store, name, version)
    return VersionDetails(
        card=card,
        aliases=registry.read_aliases(store, name, include_deleted=True),
        file_sizes=registry.file_sizes(store, card),
        reports=newest_reports(list_reports(store, MAX_REPORTS), name, version),
    )


def newest_reports(reports: Sequence[Report], name: str, version: str) -> tuple[Report, ...]:
    """The newest report of each split on a version. `reports` are sorted, newest first."""
    by_split: dict[str, Report] = {}
    for report in reports:
        about = report.provenance
        if about.protocol == PUBLISHED and (about.model_name, about.model_version) == (name, version):
            by_split.setdefault(about.split, report)
    return tuple(by_split[split] for split in sorted(by_split))


def _proportion(correct: int, n: int) -> Proportion | None:
    return Proportion(correct=correct, n=n) if correct <= n else None


def _read_card(store: ObjectStore, name: str, version: str) -> ModelCard | SignetError:
    """The card of a version, or why there is none: it is damaged or not trusted, or was deleted since it was listed."""
    try:
        return registry.read_card(store, name, version)
    except (DataLoss, NotFound) as error:
        return error
