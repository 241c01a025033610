"""The gRPC servicer of signet.v1.Enrolment."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from services.evaluator.enrolment.enrolment import EnrolmentResult, enrol, forget
from services.evaluator.enrolment.examples import MAX_EXAMPLES, ExampleClip
from services.evaluator.enrolment.parent import choose_model_name
from services.evaluator.serving.clip_limits import measure_clip
from services.evaluator.serving.extractor_client import ExtractorClient
from signet.errors import Busy, DeadlineExceeded, InvalidInput, NotReady
from signet.labels import describe_label_fault
from signet.registry import LATEST
from signet.rpc.deadline import seconds_for_work
from signet.store import ObjectStore
from signet.v1 import enrolment_pb2 as pb
from signet.v1 import enrolment_pb2_grpc

# The next message must come within this time.
_MESSAGE_SECONDS = 30.0
_RETRY_SECONDS = 5.0
_MAX_NAME_CHARACTERS = 200
# The landmarks of all examples of a call. Those of a sign have less than 0.2 MB.
_MAX_LANDMARK_BYTES = 32 << 20


class EnrolmentServicer(enrolment_pb2_grpc.EnrolmentServicer):
    """signet.v1.Enrolment.

    Args:
        store: the store of the models.
        extractor: turns videos into landmarks.
        model_name: the model of requests that name none.
        bundled: whether the model that comes with Signet is meant instead, if the store has no version of `model_name`.
        writable: whether calls may publish versions.
        threads: the number of threads inside one operator of a model; 0 means one per core.
    """

    def __init__(
        self,
        store: ObjectStore,
        extractor: ExtractorClient,
        model_name: str,
        *,
        bundled: bool,
        writable: bool,
        threads: int,
    ) -> None:
        self._store = store
        self._extractor = extractor
        self._model_name = model_name
        self._bundled = bundled
        self._writable = writable
        self._threads = threads
        self._busy = False
        self._work: asyncio.Future[EnrolmentResult] | None = None

    async def Enroll(self, requests: AsyncIterator[pb.EnrollRequest], context: Any) -> pb.EnrollResponse:  # noqa: N802
        """See enrolment.proto."""
        self._check_writable()
        with self._one_at_a_time():
            first, examples = await self._receive(requests, context)
            result = await self._run(
                enrol,
                self._store,
                first.model_name or await self._choose_model_name(),
                first.gloss,
                examples,
                version=first.model_version or LATEST,
                allow_similar=first.allow_similar,
                threads=self._threads,
                trial=True,
            )
        return pb.EnrollResponse(result=result_message(result))

    async def Forget(self, request: pb.ForgetRequest, _context: Any) -> pb.ForgetResponse:  # noqa: N802
        """See enrolment.proto."""
        self._check_writable()
        with self._one_at_a_time():
            result = await self._run(
                forget,
                self._store,
                request.model_name or await self._choose_model_name(),
                request.gloss,
                version=request.model_version or LATEST,
                threads=self._threads,
                trial=True,
            )
        return pb.ForgetResponse(result=result_message(result))

    async def _choose_model_name(self) -> str:
        """The model of a request that names none: the one that answers calls."""
        if not self._bundled:
            return self._model_name
        return await asyncio.to_thread(choose_model_name, self._store, self._model_name)

    async def _run(self, work: Callable[..., EnrolmentResult], *arguments: Any, **options: Any) -> EnrolmentResult:
        """Do work in a thread. A caller that leaves does not end it: until it has ended, no other enrolment begins."""
        self._work = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **options))
        self._work.add_done_callback(_retrieve_error)
        return await asyncio.shield(self._work)

    async def _receive(
        self, requests: AsyncIterator[pb.EnrollRequest], context: Any
    ) -> tuple[pb.EnrollRequest, list[ExampleClip]]:
        """The first message without its example, and the landmarks of all examples."""
        first: pb.EnrollRequest | None = None
        examples: list[ExampleClip] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(_MESSAGE_SECONDS):
                    request = await anext(requests, None)
            except TimeoutError:
                raise DeadlineExceeded(
                    f"no message came for {_MESSAGE_SECONDS:g} s. Send the examples again."
                ) from None
            if request is None:
                return first or pb.EnrollRequest(), examples
            if request.WhichOneof("example") is not None:
                if len(examples) == MAX_EXAMPLES:
                    raise InvalidInput(f"there are more than {MAX_EXAMPLES} examples. With more clips, train a model.")
                examples.append(await self._read_example(request, len(examples) + 1, context))
                size += len(examples[-1].landmarks)
                if size > _MAX_LANDMARK_BYTES:
                    raise InvalidInput(
                        f"the landmarks of the examples have more than {_MAX_LANDMARK_BYTES} bytes. Cut each example "
                        "to the sign."
                    )
            elif first is not None:
                raise InvalidInput(
                    "a message after the first one has neither landmarks nor a video. Send an example in each."
                )
            if first is None:
                first = pb.EnrollRequest()
                first.CopyFrom(request)
                first.ClearField("landmarks")
                first.ClearField("video")

    async def _read_example(self, request: pb.EnrollRequest, number: int, context: Any) -> ExampleClip:
        name = request.example_name or f"example {number}"
        if fault := describe_label_fault(name):
            raise InvalidInput(f"the name of example {number} cannot be used: {fault}.")
        if len(name) > _MAX_NAME_CHARACTERS:
            raise InvalidInput(f"the name of example {number} has more than {_MAX_NAME_CHARACTERS} characters.")
        landmarks = request.landmarks
        if request.HasField("video"):
            if not request.video:
                raise InvalidInput(f"{name}: the video is empty. Send the bytes of an encoded video file.")
            try:
                landmarks = await self._extractor.landmarks(request.video, seconds_for_work(context.time_remaining()))
            except InvalidInput as error:
                raise InvalidInput(f"{name}: {error}") from error
        measure_clip(landmarks, name)
        return ExampleClip(name, landmarks)

    def _check_writable(self) -> None:
        if not self._writable:
            raise NotReady(
                "this evaluator answers only calls that read models. Start it with --tokens-file or --registry-writes, "
                "or use `signet enroll` where the store can be reached."
            )

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Raises `Busy` while another enrolment runs: each takes memory, and moves the same alias."""
        if self._busy or (self._work is not None and not self._work.done()):
            raise Busy(f"the evaluator runs another enrolment. Retry in {_RETRY_SECONDS:g} s.", _RETRY_SECONDS)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


def _retrieve_error(work: asyncio.Future[EnrolmentResult]) -> None:
    """Take the error of work whose caller has left. asyncio would log it as one that was never retrieved."""
    if not work.cancelled():
        work.exception()


def result_message(result: EnrolmentResult) -> pb.EnrolmentResult:
    """An enrolment as a message."""
    card, figures = result.card, result.figures
    return pb.EnrolmentResult(
        model_name=card.name,
        model_version=card.version,
        parent_version=result.parent_version,
        vocabulary_size=len(card.vocabulary),
        measured_on=figures.measured_on,
        clips=figures.clips,
        parent_correct=figures.before,
        correct=figures.after,
        warnings=result.warnings,
        seconds=result.seconds,
    )
