"""The commands `signet models ...`: versions of published models, and their aliases."""

import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from services.evaluator.models.comparison import compare_versions
from services.evaluator.models.console import show_comparison, show_details, show_versions
from services.evaluator.models.summary import MAX_REPORTS, list_versions, read_details
from services.evaluator.reports.report_store import list_reports
from services.evaluator.settings import read_evaluator_settings
from signet import registry
from signet.errors import InvalidInput, InvalidSetting
from signet.registry import LATEST, PRODUCTION, Alias
from signet.store import ObjectStore
from signet.store.options import StoreOption, open_store_option
from signet.terminal.output import open_console, print_line, say
from signet.whole_file import write_whole_file

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
models = typer.Typer(
    help="List, compare, promote, roll back, delete, export, import or sign published models. Without a command: list.",
    invoke_without_command=True,
)
app.add_typer(models, name="models")

ModelNameOption = Annotated[str, typer.Option(help="The model. Default: SIGNET_MODEL_NAME, or signet")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON")]
AliasOption = Annotated[str, typer.Option(help="The alias. It is made if it does not exist")]
ReasonOption = Annotated[str, typer.Option(help="Why, for the history of the alias. At most 500 characters")]
ExpectedOption = Annotated[
    str | None,
    typer.Option(
        help="The version that the alias must name before, '' for an alias that must not exist yet. If another person "
        "or program has moved it, nothing is moved",
        show_default=False,
    ),
]
VersionArgument = Annotated[str, typer.Argument(help="A version or an alias", show_default=False)]


@models.callback()
def models_without_a_command(
    context: typer.Context, *, model_name: ModelNameOption = "", store: StoreOption = "", as_json: JsonFlag = False
) -> None:
    """List the versions, if there is no further command."""
    if context.invoked_subcommand is None:
        _list(model_name, store, as_json=as_json)
        return
    for name in ("model_name", "store", "as_json"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InvalidInput(
                f"signet models: write the options after the command: `signet models {context.invoked_subcommand} ...`"
            )


@models.command("list")
def list_models(*, model_name: ModelNameOption = "", store: StoreOption = "", as_json: JsonFlag = False) -> None:
    """List the versions of a model, newest first, with their accuracy on val at publication."""
    _list(model_name, store, as_json=as_json)


@models.command()
def show(
    version: Annotated[str, typer.Argument(help="A version, or an alias, whose whole history is then shown")] = LATEST,
    *,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Show one version: what its card says, its files, its reports, and the moves of aliases to it and away from it."""
    opened, name = _open(store, model_name)
    resolved = registry.resolve(opened, name, version)
    details = read_details(opened, name, resolved)
    if as_json:
        _print_json(
            {
                "card": _plain(details.card),
                "aliases": {alias: _plain(moves) for alias, moves in details.aliases.items()},
                "file_sizes": details.file_sizes,
                "reports": [
                    {"report_id": report.report_id, "split": report.provenance.split, "top1": _plain(report.top1)}
                    for report in details.reports
                ],
            }
        )
        return
    show_details(open_console(), details, version)


@models.command()
def compare(
    first: Annotated[str, typer.Argument(help="A version or an alias", show_default=False)],
    second: Annotated[str, typer.Argument(help="Another one", show_default=False)],
    *,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Compare two versions: what differs in their cards, and their stored reports clip by clip."""
    opened, name = _open(store, model_name)
    one, other = (
        registry.read_card(opened, name, registry.resolve(opened, name, version)) for version in (first, second)
    )
    if one.version == other.version:
        raise InvalidInput(f"{first} and {second} are the same version, {one.version}. Name two versions.")
    comparison = compare_versions(one, other, list_reports(opened, MAX_REPORTS))
    if as_json:
        _print_json(
            {
                "first": one.version,
                "second": other.version,
                "differences": [_plain(difference) for difference in comparison.differences],
                "only_first_glosses": comparison.only_first_glosses,
                "only_second_glosses": comparison.only_second_glosses,
                "figures": [_plain(pair) for pair in comparison.figures],
            }
        )
        return
    show_comparison(open_console(), comparison)


@models.command()
def promote(
    version: VersionArgument,
    *,
    alias: AliasOption = PRODUCTION,
    reason: ReasonOption = "",
    expected_from: ExpectedOption = None,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Move an alias to a version. Evaluators that serve the alias load the version within seconds."""
    opened, name = _open(store, model_name, writable=True)
    before = registry.aliases(opened, name).get(alias, "")
    after = registry.promote(opened, name, version, alias, reason, expected_from)
    if before == after.version and not as_json:
        print_line(open_console(), f"{alias} names {before} already")
    else:
        _show_moved(alias, after, as_json=as_json)


@models.command()
def rollback(
    alias: Annotated[str, typer.Argument(help="The alias")] = PRODUCTION,
    *,
    reason: ReasonOption = "",
    expected_from: ExpectedOption = None,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Move an alias back to the version before its last move. Repeated, it goes further back."""
    opened, name = _open(store, model_name, writable=True)
    _show_moved(alias, registry.rollback(opened, name, alias, reason, expected_from), as_json=as_json)


@models.command("delete-alias")
def delete_alias(
    alias: Annotated[str, typer.Argument(help="The alias", show_default=False)],
    *,
    reason: ReasonOption = "",
    expected_from: ExpectedOption = None,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Delete an alias. No version is deleted, its history is kept, and `promote` makes it again.

    Evaluators that serve the alias go on with the version that they have. One that starts later has no version to
    serve until the alias names one again.
    """
    opened, name = _open(store, model_name, writable=True)
    deleted = registry.delete_alias(opened, name, alias, reason, expected_from)
    if as_json:
        _print_json({"alias": alias, **_plain(deleted)})
        return
    console = open_console()
    print_line(console, f"deleted the alias {alias}; it was {deleted.version} before")
    if alias == LATEST:
        say(console, "the next publication makes it again; until then, name a version or another alias", "dim")
    say(console, f"`signet models promote {deleted.version} --alias {alias}` makes it again", "dim")


@models.command()
def delete(
    versions: Annotated[list[str], typer.Argument(help="Versions. Aliases are not accepted", show_default=False)],
    *,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
) -> None:
    """Delete versions for good. A version that an alias names is not deleted. Reports on it stay."""
    opened, name = _open(store, model_name, writable=True)
    for version in versions:
        objects = registry.delete(opened, name, version)
        print_line(open_console(), f"deleted {name} {version} ({objects} objects)")


@models.command()
def export(
    version: VersionArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option(help="The file. Default: MODEL-VERSION.tar in this directory", dir_okay=False, show_default=False),
    ] = None,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
) -> None:
    """Write a version into one file: its card, its files and their sha256. The same version gives the same bytes."""
    opened, name = _open(store, model_name)
    resolved = registry.resolve(opened, name, version)
    path = output or Path(f"{name}-{resolved}.tar")
    if path.exists():
        raise InvalidInput(f"{path}: exists already. Name another file with --output, or delete this one.")
    size = _write_archive(opened, name, resolved, path)
    print_line(open_console(), f"saved {name} {resolved} to {path} ({size:,} bytes)")


@models.command("import")
def import_models(
    archives: Annotated[
        list[Path], typer.Argument(help="Files that `signet models export` has written", show_default=False)
    ],
    *,
    store: StoreOption = "",
) -> None:
    """Store the versions of archives, after everything in them was checked. No alias is moved.

    Importing a version again changes nothing. Its name and the name of its model are those in the archive.
    """
    opened = open_store_option(store, writable=True)
    for path in archives:
        try:
            with path.open("rb") as file:
                imported = registry.import_archive(opened, file, str(path))
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be read ({error.strerror}).") from error
        card = imported.card
        done = "imported" if imported.is_new else f"{opened.url} has it already:"
        print_line(open_console(), f"{done} {card.name} {card.version}")


@models.command()
def sign(
    versions: Annotated[list[str], typer.Argument(help="Versions or aliases", show_default=False)],
    *,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
) -> None:
    """Sign versions that are in the store with the key of SIGNET_MODEL_SIGNING_KEY, after their files were checked.

    Newly published versions are signed by the trainer. Use this for older ones, and after a change of the key.
    """
    opened, name = _open(store, model_name, writable=True)
    for version in versions:
        card = registry.sign(opened, name, registry.resolve(opened, name, version))
        print_line(open_console(), f"signed {name} {card.version}")


@models.command()
def verify(
    versions: Annotated[list[str], typer.Argument(help="Versions or aliases", show_default=False)],
    *,
    model_name: ModelNameOption = "",
    store: StoreOption = "",
) -> None:
    """Check the files of versions, and their signatures with the keys of SIGNET_MODEL_TRUSTED_KEYS."""
    opened, name = _open(store, model_name)
    if opened.model_keys is None or not opened.model_keys.trusted:
        raise InvalidSetting("SIGNET_MODEL_TRUSTED_KEYS is not set. It names a PEM file with the public keys to trust.")
    for version in versions:
        card = registry.read_card(opened, name, registry.resolve(opened, name, version))
        for file in card.files:
            registry.read_file(opened, card, file)
        print_line(
            open_console(), f"{name} {card.version} is signed by a trusted key; {len(card.files)} files are right"
        )


def _list(model_name: str, store: str, *, as_json: bool) -> None:
    opened, name = _open(store, model_name)
    versions = list_versions(opened, name)
    if as_json:
        _print_json({"model": name, "versions": [_plain(version) for version in versions]})
    else:
        show_versions(open_console(), versions)


def _open(store: str, model_name: str, *, writable: bool = False) -> tuple[ObjectStore, str]:
    """The store, and the name of the model."""
    name = model_name or read_evaluator_settings().model_name
    return open_store_option(store, must_exist=True, writable=writable), name


def _show_moved(name: str, alias: Alias, *, as_json: bool) -> None:
    if as_json:
        _print_json({"alias": name, **_plain(alias)})
        return
    console = open_console()
    last = alias.history[-1]
    before = f"it was {last.previous} before" if last.previous else "it is new"
    print_line(console, f"{name} is {alias.version} now; {before}")
    if alias.version_before:
        say(console, f"`signet models rollback {name}` moves it back to {alias.version_before}", "dim")


def _write_archive(store: ObjectStore, name: str, version: str, path: Path) -> int:
    """Write an archive completely or not at all. Returns its size in bytes."""
    parts = registry.export_archive(store, name, version)[2]
    try:
        return write_whole_file(path, parts)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror}).") from error


def _plain(model: BaseModel) -> dict[str, object]:
    return model.model_dump(mode="json", by_alias=True)


def _print_json(value: dict[str, object]) -> None:
    console = open_console()
    for line in json.dumps(value, indent=1).splitlines():
        print_line(console, line)
