"""The gRPC servicer of signet.v1.Registry."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from services.evaluator.models.summary import VersionSummary, list_versions, summarise_version
from signet import registry
from signet.errors import Busy, DeadlineExceeded, InvalidInput, NotReady
from signet.registry import LATEST, PRODUCTION, Alias, ModelCard
from signet.rpc.receiving import LARGE_REQUEST_BYTES
from signet.store import ObjectStore
from signet.v1 import registry_pb2 as pb
from signet.v1 import registry_pb2_grpc

# The most versions in an answer, newest first.
_MAX_VERSIONS = 1000
# An archive that is imported is in memory, and so is each file that is exported. Models of the recipes have less than
# 30 MiB. Larger ones are copied by `signet models export` and `signet models import`, which need access to the store.
MAX_TRANSFER_BYTES = 128 << 20
MAX_CHUNK_BYTES = LARGE_REQUEST_BYTES
_SENT_CHUNK_BYTES = 1 << 20
# The next chunk must come within this time, and the whole archive within the other. It arrives in 18 minutes over
# 1 Mbit/s.
_CHUNK_SECONDS = 30.0
_TRANSFER_SECONDS = 1_800.0
_RETRY_SECONDS = 10.0
# So many calls use the store at a time. The threads of the process are for recognition, too.
_THREADS = 2

_Result = TypeVar("_Result")


class RegistryServicer(registry_pb2_grpc.RegistryServicer):
    """signet.v1.Registry.

    Args:
        store: the store of the models.
        model_name: the model of requests that name none.
        writable: whether calls may move aliases, and delete and import versions.
    """

    def __init__(self, store: ObjectStore, model_name: str, *, writable: bool) -> None:
        self._store = store
        self._model_name = model_name
        self._writable = writable
        self._transfers: set[str] = set()
        self._turns = asyncio.Semaphore(_THREADS)

    async def ListModels(self, request: pb.ListModelsRequest, _context: Any) -> pb.ListModelsResponse:  # noqa: N802
        """See registry.proto."""
        name = self._name(request.model_name)
        versions = await self._run(list_versions, self._store, name, _MAX_VERSIONS)
        return pb.ListModelsResponse(versions=[_version_message(name, version) for version in versions])

    async def GetModel(self, request: pb.GetModelRequest, _context: Any) -> pb.GetModelResponse:  # noqa: N802
        """See registry.proto."""
        return await self._run(self._get_model, self._name(request.model_name), request.model_version or LATEST)

    async def ListAliases(self, request: pb.ListAliasesRequest, _context: Any) -> pb.ListAliasesResponse:  # noqa: N802
        """See registry.proto."""
        aliases = await self._run(
            partial(registry.read_aliases, include_deleted=request.include_deleted),
            self._store,
            self._name(request.model_name),
        )
        return pb.ListAliasesResponse(aliases=[_alias_message(name, alias) for name, alias in sorted(aliases.items())])

    async def GetAlias(self, request: pb.GetAliasRequest, _context: Any) -> pb.GetAliasResponse:  # noqa: N802
        """See registry.proto."""
        name = self._name(request.model_name)
        alias = await self._run(registry.read_alias, self._store, name, request.alias)
        return pb.GetAliasResponse(alias=_alias_message(request.alias, alias))

    async def Promote(self, request: pb.PromoteRequest, _context: Any) -> pb.PromoteResponse:  # noqa: N802
        """See registry.proto."""
        self._check_writable()
        alias = request.alias or PRODUCTION
        moved = await self._run(
            registry.promote,
            self._store,
            self._name(request.model_name),
            _required(request.model_version),
            alias,
            request.reason,
            request.expected_from if request.HasField("expected_from") else None,
        )
        return pb.PromoteResponse(alias=_alias_message(alias, moved))

    async def Rollback(self, request: pb.RollbackRequest, _context: Any) -> pb.RollbackResponse:  # noqa: N802
        """See registry.proto."""
        self._check_writable()
        alias = request.alias or PRODUCTION
        moved = await self._run(
            registry.rollback,
            self._store,
            self._name(request.model_name),
            alias,
            request.reason,
            request.expected_from if request.HasField("expected_from") else None,
        )
        return pb.RollbackResponse(alias=_alias_message(alias, moved))

    async def DeleteAlias(self, request: pb.DeleteAliasRequest, _context: Any) -> pb.DeleteAliasResponse:  # noqa: N802
        """See registry.proto."""
        self._check_writable()
        deleted = await self._run(
            registry.delete_alias,
            self._store,
            self._name(request.model_name),
            request.alias,
            request.reason,
            request.expected_from if request.HasField("expected_from") else None,
        )
        return pb.DeleteAliasResponse(alias=_alias_message(request.alias, deleted))

    async def DeleteModel(self, request: pb.DeleteModelRequest, _context: Any) -> pb.DeleteModelResponse:  # noqa: N802
        """See registry.proto."""
        self._check_writable()
        objects = await self._run(
            registry.delete, self._store, self._name(request.model_name), _required(request.model_version)
        )
        return pb.DeleteModelResponse(objects=objects)

    async def ExportModel(  # noqa: N802
        self, request: pb.ExportModelRequest, _context: Any
    ) -> AsyncIterator[pb.ExportModelResponse]:
        """See registry.proto."""
        with self._transfer("export"):
            card, size, parts = await self._run(
                self._open_archive, self._name(request.model_name), _required(request.model_version)
            )
            first = pb.ExportModelResponse(model_name=card.name, model_version=card.version, size=size)
            while part := await self._run(_next_part, parts):
                for start in range(0, len(part), _SENT_CHUNK_BYTES):
                    first.chunk = part[start : start + _SENT_CHUNK_BYTES]
                    yield first
                    first = pb.ExportModelResponse()

    async def ImportModel(  # noqa: N802
        self, requests: AsyncIterator[pb.ImportModelRequest], _context: Any
    ) -> pb.ImportModelResponse:
        """See registry.proto."""
        self._check_writable()
        with self._transfer("import"):
            archive = await _receive(requests)
            imported = await self._run(registry.import_archive, self._store, io.BytesIO(archive), "the archive")
        card = imported.card
        return pb.ImportModelResponse(model_name=card.name, model_version=card.version, is_new=imported.is_new)

    def _get_model(self, name: str, version_or_alias: str) -> pb.GetModelResponse:
        version = registry.resolve(self._store, name, version_or_alias)
        card = registry.read_card(self._store, name, version)
        named = registry.aliases(self._store, name)
        sizes = registry.file_sizes(self._store, card)
        summary = summarise_version(
            version, tuple(sorted(alias for alias, target in named.items() if target == version)), card
        )
        return pb.GetModelResponse(
            version=_version_message(name, summary),
            card_json=card.model_dump_json(by_alias=True, indent=1),
            vocabulary=card.vocabulary,
            files=[
                pb.ModelFile(name=file, sha256=sha256, size=sizes.get(file, 0))
                for file, sha256 in sorted(card.files.items())
            ],
        )

    def _open_archive(self, name: str, version_or_alias: str) -> tuple[ModelCard, int, Iterator[bytes]]:
        version = registry.resolve(self._store, name, version_or_alias)
        card, size, parts = registry.export_archive(self._store, name, version)
        if size > MAX_TRANSFER_BYTES:
            raise NotReady(
                f"the archive of {name} {version} has {size} bytes; a call carries at most {MAX_TRANSFER_BYTES}. Use "
                "`signet models export` where the store can be reached."
            )
        return card, size, parts

    async def _run(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Call a function that uses the store in a thread, when its turn has come."""
        async with self._turns:
            return await asyncio.to_thread(function, *arguments)

    def _name(self, model_name: str) -> str:
        return model_name or self._model_name

    def _check_writable(self) -> None:
        if not self._writable:
            raise NotReady(
                "this evaluator answers only calls that read models. Start it with --tokens-file or --registry-writes, "
                "or use `signet models` where the store can be reached."
            )

    @contextmanager
    def _transfer(self, kind: str) -> Iterator[None]:
        """Count an export or an import while it runs.

        Raises:
            Busy: there is one of this kind already.
        """
        if kind in self._transfers:
            raise Busy(f"the evaluator runs another {kind}. Retry in {_RETRY_SECONDS:g} s.", _RETRY_SECONDS)
        self._transfers.add(kind)
        try:
            yield
        finally:
            self._transfers.discard(kind)


async def _receive(requests: AsyncIterator[pb.ImportModelRequest]) -> bytearray:
    """Receive all chunks of an archive."""
    archive = bytearray()
    loop = asyncio.get_running_loop()
    end = loop.time() + _TRANSFER_SECONDS
    while True:
        try:
            async with asyncio.timeout(max(0.0, min(_CHUNK_SECONDS, end - loop.time()))):
                request = await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the archive is not complete after {len(archive)} bytes: no chunk came for {_CHUNK_SECONDS:g} s, or "
                f"all of it takes more than {_TRANSFER_SECONDS:g} s. Send it again."
            ) from None
        if request is None:
            return archive
        if len(request.chunk) > MAX_CHUNK_BYTES:
            raise InvalidInput(
                f"a chunk has {len(request.chunk)} bytes; at most {MAX_CHUNK_BYTES} are allowed. Send smaller chunks."
            )
        if len(archive) + len(request.chunk) > MAX_TRANSFER_BYTES:
            raise InvalidInput(
                f"the archive has more than {MAX_TRANSFER_BYTES} bytes. Use `signet models import` where the store can "
                "be reached."
            )
        archive += request.chunk


def _next_part(parts: Iterator[bytes]) -> bytes:
    """The next part of an archive that is not empty; b"" at its end."""
    return next((part for part in parts if part), b"")


def _required(version: str) -> str:
    if not version:
        raise InvalidInput("model_version is empty. Name a version or an alias.")
    return version


def _version_message(name: str, version: VersionSummary) -> pb.ModelVersion:
    message = pb.ModelVersion(
        model_name=name,
        model_version=version.version,
        aliases=version.aliases,
        damaged=version.damaged,
        created=version.created,
        run_id=version.run_id,
        dataset_name=version.dataset_name,
        dataset_version=version.dataset_version,
        vocabulary_size=version.glosses,
        parameters=version.parameters,
    )
    if version.val is not None and version.val_best_path is not None:
        message.val_clips = version.val.n
        message.val_top1 = version.val.value
        message.val_top1_low, message.val_top1_high = version.val.interval
        message.val_greedy_top1 = version.val_best_path.value
    return message


def _alias_message(name: str, alias: Alias) -> pb.Alias:
    return pb.Alias(
        name=name,
        model_version=alias.named_version,
        history=[
            pb.AliasMove(
                moved=move.moved,
                from_version=move.previous or "",
                to_version="" if move.deleted else move.version,
                reason=move.reason,
                rollback=move.rollback,
                deleted=move.deleted,
            )
            for move in alias.history
        ],
        older_moves=alias.older_moves,
        version_before="" if alias.deleted else alias.version_before,
        deleted=alias.deleted,
    )
