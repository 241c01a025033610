"""The gRPC servicer of the extractor."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

from services.extractor.jobs import worker
from services.extractor.jobs.board import Progress
from services.extractor.jobs.progress import ExtractionState
from services.extractor.jobs.queue import POLL_SECONDS, ExtractionQueue, ExtractionView
from services.extractor.jobs.worker import Extracted, Labels
from services.extractor.jobs.workers import WorkerPool
from services.extractor.metrics import ExtractorMetrics
from services.extractor.settings import DEFAULT_CORPUS
from services.extractor.sources.selection import SelectionCriteria
from services.extractor.streams.pool import StreamPool
from services.extractor.streams.session import StreamSession
from services.extractor.tracking.trackers import TrackingQuality
from services.extractor.uploads import UploadFolder
from signet.errors import ClipError, InvalidInput
from signet.rpc.deadline import seconds_for_work
from signet.v1 import extractor_pb2 as pb
from signet.v1 import extractor_pb2_grpc

# Seconds between two progress messages of a watched extraction, at least.
_WATCH_SECONDS = 0.25
_MAX_CLIP_ID = 200
# Seconds between two messages that tell how much of a video is tracked, at least.
_PROGRESS_SECONDS = 0.5
# The bytes of a landmark tensor in a message of a stream.
_PIECE_BYTES = 1 << 20

_STATES = {
    ExtractionState.SELECTING: pb.EXTRACTION_STATE_SELECTING,
    ExtractionState.RUNNING: pb.EXTRACTION_STATE_RUNNING,
    ExtractionState.SUCCEEDED: pb.EXTRACTION_STATE_SUCCEEDED,
    ExtractionState.CANCELLED: pb.EXTRACTION_STATE_CANCELLED,
    ExtractionState.FAILED: pb.EXTRACTION_STATE_FAILED,
}


class ExtractorServicer(extractor_pb2_grpc.ExtractorServicer):
    """signet.v1.Extractor: extractions of a corpus, and single clips, on one pool of workers."""

    def __init__(
        self,
        extractions: ExtractionQueue,
        workers: WorkerPool,
        metrics: ExtractorMetrics,
        quality: TrackingQuality = TrackingQuality.FAST,
        streams: StreamPool | None = None,
    ) -> None:
        self._extractions = extractions
        self._workers = workers
        self._metrics = metrics
        self._quality = quality
        self._uploads = UploadFolder()
        self._streams = streams or StreamPool(0)
        self._stopping = asyncio.Event()

    def stop_streams(self) -> None:
        """End all streams of pictures, because the service stops."""
        self._stopping.set()

    def close(self) -> None:
        """Delete the temporary files of videos, and end the processes of streams."""
        self._uploads.close()
        self._streams.close()

    async def StartExtraction(self, request: pb.StartExtractionRequest, context: Any) -> pb.StartExtractionResponse:  # noqa: N802
        """See extractor.proto."""
        choice = SelectionCriteria(
            max_glosses=request.max_glosses,
            samples_per_gloss=request.samples_per_gloss,
            splits=tuple(dict.fromkeys(request.splits)),
            glosses=tuple(dict.fromkeys(request.glosses)),
        )
        name = request.corpus or DEFAULT_CORPUS
        extraction_id = await asyncio.to_thread(self._extractions.start, name, choice)
        return pb.StartExtractionResponse(extraction_id=extraction_id)

    async def WatchExtraction(  # noqa: N802
        self, request: pb.WatchExtractionRequest, context: Any
    ) -> AsyncIterator[pb.WatchExtractionResponse]:
        """See extractor.proto."""
        sent: pb.ExtractionProgress | None = None
        while True:
            view = await self._extractions.view(request.extraction_id)
            message = _to_message(request.extraction_id, view)
            # A message is sent if more than the elapsed time has changed.
            if sent is None or _without_time(message) != _without_time(sent):
                yield pb.WatchExtractionResponse(progress=message)
                sent = message
            if view.progress.ended:
                return
            await asyncio.sleep(_WATCH_SECONDS if view.here else POLL_SECONDS)

    async def CancelExtraction(self, request: pb.CancelExtractionRequest, context: Any) -> pb.CancelExtractionResponse:  # noqa: N802
        """See extractor.proto. Answers when the current clips are done, also if the caller has left by then."""
        await self._extractions.cancel(request.extraction_id)
        view = await self._extractions.ended(request.extraction_id)
        return pb.CancelExtractionResponse(progress=_to_message(request.extraction_id, view))

    async def ExtractClip(self, request: pb.ExtractClipRequest, context: Any) -> pb.ExtractClipResponse:  # noqa: N802
        """See extractor.proto."""
        labels = _labels(request.clip_id)
        # The request and its copy of the video are freed before the clip waits. A refused video is not copied.
        self._workers.check_room(request.ByteSize())
        video = request.video
        del request
        extracted = await self._extract(worker.extract_bytes, (video, labels, self._quality), context)
        return pb.ExtractClipResponse(
            landmarks=extracted.data,
            decode_seconds=extracted.decode_seconds,
            landmark_seconds=extracted.landmark_seconds,
        )

    async def ExtractClipStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ExtractClipStreamRequest], context: Any
    ) -> AsyncIterator[pb.ExtractClipStreamResponse]:
        """See extractor.proto."""
        self._workers.check_room(0)
        async with self._uploads.receive(requests) as upload:
            arguments = (_labels(upload.clip_id), upload.path, self._quality)
            shares, sent = [0.0], 0.0
            extraction = asyncio.create_task(
                self._extract(worker.extract_upload, arguments, context, partial(_note_share, shares))
            )
            try:
                while not extraction.done():
                    await asyncio.wait([extraction], timeout=_PROGRESS_SECONDS)
                    if upload.wants_progress and shares[0] > sent and not extraction.done():
                        sent = shares[0]
                        yield pb.ExtractClipStreamResponse(tracked_share=sent)
                extracted = extraction.result()
            finally:
                extraction.cancel()
                await asyncio.wait([extraction])
        for start in range(0, len(extracted.data), _PIECE_BYTES):
            last = start + _PIECE_BYTES >= len(extracted.data)
            yield pb.ExtractClipStreamResponse(
                landmarks=extracted.data[start : start + _PIECE_BYTES],
                decode_seconds=extracted.decode_seconds if last else 0.0,
                landmark_seconds=extracted.landmark_seconds if last else 0.0,
            )

    async def ExtractStream(  # noqa: N802
        self, requests: AsyncIterator[pb.ExtractStreamRequest], context: Any
    ) -> AsyncIterator[pb.ExtractStreamResponse]:
        """See extractor.proto."""
        session = StreamSession(self._streams, requests, self._stopping, self._metrics)
        with self._metrics.count_open_stream():
            async with aclosing(session.responses()) as responses:
                async for response in responses:
                    yield response

    async def _extract(
        self,
        function: Callable[..., Extracted],
        arguments: tuple[Any, ...],
        context: Any,
        watch: Callable[[Progress], None] | None = None,
    ) -> Extracted:
        """Extract the clip of a call in a worker, and count it."""
        try:
            extracted = await self._workers.one(function, arguments, seconds_for_work(context.time_remaining()), watch)
        except ClipError as error:
            self._metrics.count("broken", error.reason)
            raise
        self._metrics.count_extracted(extracted.tracked_frames, extracted.found, extracted.stage_seconds)
        return extracted


def _note_share(shares: list[float], progress: Progress) -> None:
    """Put into the list how much of a video is tracked."""
    shares[0] = min(1.0, progress.done / progress.total) if progress.total else 0.0


def _labels(clip_id: str) -> Labels:
    if len(clip_id) > _MAX_CLIP_ID:
        raise InvalidInput(f"clip_id has {len(clip_id)} characters; at most {_MAX_CLIP_ID} are allowed.")
    return Labels(clip_id or "clip")


def _to_message(extraction_id: str, view: ExtractionView) -> pb.ExtractionProgress:
    progress = view.progress
    return pb.ExtractionProgress(
        extraction_id=extraction_id,
        corpus=view.corpus,
        state=_STATES[progress.state],
        total=progress.total,
        extracted=progress.extracted,
        present=progress.present,
        broken=progress.broken,
        missing=progress.missing,
        frames=progress.frames,
        glosses=progress.glosses,
        failures=[
            pb.ClipFailure(clip_id=failure.clip_id, reason=failure.reason, message=failure.message)
            for failure in progress.failures
        ],
        elapsed_seconds=progress.elapsed_seconds,
        error=progress.error,
    )


def _without_time(message: pb.ExtractionProgress) -> pb.ExtractionProgress:
    timeless = pb.ExtractionProgress()
    timeless.CopyFrom(message)
    timeless.ClearField("elapsed_seconds")
    return timeless
