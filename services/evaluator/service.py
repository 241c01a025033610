"""The gRPC servicers: they convert requests to calls, and results to responses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from services.evaluator.reports import report_store
from services.evaluator.reports.evaluate import DEFAULT_SPLIT
from services.evaluator.reports.queue import EvaluationQueue
from services.evaluator.reports.report import Report
from services.evaluator.serving.recognizer import RecognitionResult, Recognizer
from services.evaluator.settings import EvaluatorSettings
from services.evaluator.streaming.messages import NOTHING_SIGNED
from services.evaluator.streaming.session import RecognitionSession, StreamServices
from services.evaluator.streaming.transcription import VideoTranscription
from services.evaluator.versions.lookup import Models
from services.evaluator.versions.served_model import ServingStatus
from signet.errors import InvalidInput
from signet.registry import LATEST
from signet.rpc.deadline import seconds_for_work
from signet.store import ObjectStore
from signet.v1 import evaluator_pb2, evaluator_pb2_grpc


class RecognizerServicer(evaluator_pb2_grpc.RecognizerServicer):
    """signet.v1.Recognizer."""

    def __init__(self, models: Models, recognizer: Recognizer, streams: StreamServices) -> None:
        self._models = models
        self._recognizer = recognizer
        self._streams = streams

    async def Recognize(  # noqa: N802
        self, request: evaluator_pb2.RecognizeRequest, context: Any
    ) -> evaluator_pb2.RecognizeResponse:
        """Rank the vocabulary for landmarks or a video."""
        if request.WhichOneof("input") is None:
            raise InvalidInput("the request holds neither landmarks nor a video. Set one of the two.")
        seconds = seconds_for_work(context.time_remaining())
        with await self._models.acquire(request.model_name, request.model_version, seconds) as model:
            if request.HasField("video"):
                seconds = seconds_for_work(context.time_remaining())
                result = await self._recognizer.recognise_video(model, request.video, request.top_k, seconds)
            else:
                result = await self._recognizer.recognise(model, request.landmarks, request.top_k)
        return _recognize_response(result)

    async def RecognizeStream(  # noqa: N802
        self, requests: AsyncIterator[evaluator_pb2.RecognizeStreamRequest], context: Any
    ) -> AsyncIterator[evaluator_pb2.RecognizeStreamResponse]:
        """Recognise continuous signing as it happens."""
        session = RecognitionSession(self._streams, requests, context.time_remaining)
        async with aclosing(session.responses()) as responses:
            async for response in responses:
                yield response

    async def TranscribeVideo(  # noqa: N802
        self, requests: AsyncIterator[evaluator_pb2.TranscribeVideoRequest], context: Any
    ) -> AsyncIterator[evaluator_pb2.TranscribeVideoResponse]:
        """Recognise the signs of a video that comes in chunks."""
        transcription = VideoTranscription(self._streams, requests, context.time_remaining)
        async with aclosing(transcription.responses()) as responses:
            async for response in responses:
                yield response

    async def GetServingStatus(  # noqa: N802
        self, request: evaluator_pb2.GetServingStatusRequest, _context: Any
    ) -> evaluator_pb2.GetServingStatusResponse:
        """Say which versions are served, and why others are not."""
        return evaluator_pb2.GetServingStatusResponse(
            models=[_model_status(status) for status in self._models.status(request.model_name)],
            memory_bytes=self._models.memory_bytes(),
            memory_limit_bytes=self._models.memory_limit_bytes,
        )


class EvaluationServicer(evaluator_pb2_grpc.EvaluationServicer):
    """signet.v1.Evaluation."""

    def __init__(self, store: ObjectStore, settings: EvaluatorSettings, evaluations: EvaluationQueue) -> None:
        self._store = store
        self._settings = settings
        self._evaluations = evaluations

    async def RunEvaluation(  # noqa: N802
        self, request: evaluator_pb2.RunEvaluationRequest, _context: Any
    ) -> evaluator_pb2.RunEvaluationResponse:
        """Evaluate a model and store the report, or answer with the stored one."""
        report = await self._evaluations.run(
            request.model_name or self._settings.model_name,
            request.model_version or LATEST,
            request.split or DEFAULT_SPLIT,
        )
        return evaluator_pb2.RunEvaluationResponse(summary=_summary(report))

    async def GetReport(  # noqa: N802
        self, request: evaluator_pb2.GetReportRequest, _context: Any
    ) -> evaluator_pb2.GetReportResponse:
        """Read one report: report.json and its page."""
        json, html = await asyncio.to_thread(report_store.read_report_texts, self._store, request.report_id)
        return evaluator_pb2.GetReportResponse(json=json, html=html)

    async def ListReports(  # noqa: N802
        self, _request: evaluator_pb2.ListReportsRequest, _context: Any
    ) -> evaluator_pb2.ListReportsResponse:
        """Read the summaries of the newest reports."""
        reports = await asyncio.to_thread(self._evaluations.reports.newest)
        return evaluator_pb2.ListReportsResponse(reports=[_summary(report) for report in reports])


def _recognize_response(result: RecognitionResult) -> evaluator_pb2.RecognizeResponse:
    decoded, seconds = result.decoded, result.seconds
    response = evaluator_pb2.RecognizeResponse(
        model_name=result.card.name,
        model_version=result.card.version,
        frames=result.frames,
        vocabulary_size=len(result.card.vocabulary),
        nothing_signed=NOTHING_SIGNED[result.nothing_signed],
        warnings=result.warnings,
        timing=evaluator_pb2.Timing(
            extract_seconds=seconds.get("extract", 0.0),
            prepare_seconds=seconds["prepare"],
            model_seconds=seconds.get("model", 0.0),
            decode_seconds=seconds.get("decode", 0.0),
            total_seconds=seconds["total"],
        ),
    )
    if decoded is not None:
        response.predictions.extend(
            evaluator_pb2.Prediction(gloss=ranked.gloss, probability=ranked.probability) for ranked in result.ranked
        )
        response.greedy_glosses.extend(decoded.greedy)
        response.continuous_glosses.extend(decoded.continuous)
        response.moment.start_seconds, response.moment.end_seconds = decoded.time_span.start, decoded.time_span.end
        response.blank_ratio = decoded.blank_ratio
        if decoded.in_vocabulary is not None:
            response.in_vocabulary = decoded.in_vocabulary
    return response


def _model_status(status: ServingStatus) -> evaluator_pb2.ModelStatus:
    return evaluator_pb2.ModelStatus(
        model_name=status.model_name,
        alias=status.alias,
        is_default=status.is_default,
        model_version=status.version,
        refused_version=status.refused_version,
        reason=status.reason,
        memory_bytes=status.memory_bytes,
        running_calls=status.calls,
        loaded_at=status.loaded_at,
    )


def _summary(report: Report) -> evaluator_pb2.ReportSummary:
    return evaluator_pb2.ReportSummary(
        report_id=report.report_id,
        model_name=report.provenance.model_name,
        model_version=report.provenance.model_version,
        split=report.provenance.split,
        clips=report.top1.n,
        top1=report.top1.value,
        top1_low=report.top1.low,
        top1_high=report.top1.high,
        top5=report.top5.value,
        greedy_top1=report.greedy.value,
        blank_ratio=report.blank.frame_ratio,
        glosses_predicted=report.glosses_predicted,
    )
