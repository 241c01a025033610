from signet.v1 import streaming_pb2 as _streaming_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NothingSigned(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTHING_SIGNED_UNSPECIFIED: _ClassVar[NothingSigned]
    NOTHING_SIGNED_TOO_SHORT: _ClassVar[NothingSigned]
    NOTHING_SIGNED_NO_HAND_FOUND: _ClassVar[NothingSigned]
    NOTHING_SIGNED_NO_HAND_MOVES: _ClassVar[NothingSigned]

class SigningHand(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SIGNING_HAND_UNSPECIFIED: _ClassVar[SigningHand]
    SIGNING_HAND_LEFT: _ClassVar[SigningHand]
    SIGNING_HAND_RIGHT: _ClassVar[SigningHand]

class TranscriptionStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSCRIPTION_STAGE_UNSPECIFIED: _ClassVar[TranscriptionStage]
    TRANSCRIPTION_STAGE_RECEIVING: _ClassVar[TranscriptionStage]
    TRANSCRIPTION_STAGE_EXTRACTING: _ClassVar[TranscriptionStage]
    TRANSCRIPTION_STAGE_RECOGNISING: _ClassVar[TranscriptionStage]
NOTHING_SIGNED_UNSPECIFIED: NothingSigned
NOTHING_SIGNED_TOO_SHORT: NothingSigned
NOTHING_SIGNED_NO_HAND_FOUND: NothingSigned
NOTHING_SIGNED_NO_HAND_MOVES: NothingSigned
SIGNING_HAND_UNSPECIFIED: SigningHand
SIGNING_HAND_LEFT: SigningHand
SIGNING_HAND_RIGHT: SigningHand
TRANSCRIPTION_STAGE_UNSPECIFIED: TranscriptionStage
TRANSCRIPTION_STAGE_RECEIVING: TranscriptionStage
TRANSCRIPTION_STAGE_EXTRACTING: TranscriptionStage
TRANSCRIPTION_STAGE_RECOGNISING: TranscriptionStage

class RecognizeRequest(_message.Message):
    __slots__ = ("landmarks", "video", "top_k", "model_name", "model_version")
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    landmarks: bytes
    video: bytes
    top_k: int
    model_name: str
    model_version: str
    def __init__(self, landmarks: _Optional[bytes] = ..., video: _Optional[bytes] = ..., top_k: _Optional[int] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class RecognizeResponse(_message.Message):
    __slots__ = ("predictions", "model_name", "model_version", "greedy_glosses", "blank_ratio", "frames", "timing", "continuous_glosses", "moment", "nothing_signed", "in_vocabulary", "vocabulary_size", "warnings")
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    GREEDY_GLOSSES_FIELD_NUMBER: _ClassVar[int]
    BLANK_RATIO_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_GLOSSES_FIELD_NUMBER: _ClassVar[int]
    MOMENT_FIELD_NUMBER: _ClassVar[int]
    NOTHING_SIGNED_FIELD_NUMBER: _ClassVar[int]
    IN_VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    model_name: str
    model_version: str
    greedy_glosses: _containers.RepeatedScalarFieldContainer[str]
    blank_ratio: float
    frames: int
    timing: Timing
    continuous_glosses: _containers.RepeatedScalarFieldContainer[str]
    moment: Moment
    nothing_signed: NothingSigned
    in_vocabulary: float
    vocabulary_size: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., greedy_glosses: _Optional[_Iterable[str]] = ..., blank_ratio: _Optional[float] = ..., frames: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., continuous_glosses: _Optional[_Iterable[str]] = ..., moment: _Optional[_Union[Moment, _Mapping]] = ..., nothing_signed: _Optional[_Union[NothingSigned, str]] = ..., in_vocabulary: _Optional[float] = ..., vocabulary_size: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("gloss", "probability")
    GLOSS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    gloss: str
    probability: float
    def __init__(self, gloss: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class Moment(_message.Message):
    __slots__ = ("start_seconds", "end_seconds")
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    END_SECONDS_FIELD_NUMBER: _ClassVar[int]
    start_seconds: float
    end_seconds: float
    def __init__(self, start_seconds: _Optional[float] = ..., end_seconds: _Optional[float] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("extract_seconds", "prepare_seconds", "model_seconds", "decode_seconds", "total_seconds")
    EXTRACT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREPARE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MODEL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    extract_seconds: float
    prepare_seconds: float
    model_seconds: float
    decode_seconds: float
    total_seconds: float
    def __init__(self, extract_seconds: _Optional[float] = ..., prepare_seconds: _Optional[float] = ..., model_seconds: _Optional[float] = ..., decode_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ...) -> None: ...

class StreamConfig(_message.Message):
    __slots__ = ("model_name", "model_version", "hand", "alternatives", "threshold", "partial_seconds", "statistics_seconds", "drop_when_behind")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    HAND_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DROP_WHEN_BEHIND_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    hand: SigningHand
    alternatives: int
    threshold: float
    partial_seconds: float
    statistics_seconds: float
    drop_when_behind: bool
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., hand: _Optional[_Union[SigningHand, str]] = ..., alternatives: _Optional[int] = ..., threshold: _Optional[float] = ..., partial_seconds: _Optional[float] = ..., statistics_seconds: _Optional[float] = ..., drop_when_behind: bool = ...) -> None: ...

class RecognizeStreamRequest(_message.Message):
    __slots__ = ("config", "frames", "image")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    config: StreamConfig
    frames: _streaming_pb2.LandmarkFrames
    image: _streaming_pb2.EncodedImage
    def __init__(self, config: _Optional[_Union[StreamConfig, _Mapping]] = ..., frames: _Optional[_Union[_streaming_pb2.LandmarkFrames, _Mapping]] = ..., image: _Optional[_Union[_streaming_pb2.EncodedImage, _Mapping]] = ...) -> None: ...

class RecognizeStreamResponse(_message.Message):
    __slots__ = ("started", "partial", "final", "nothing_signed", "statistics", "refused_image", "draining")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    NOTHING_SIGNED_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_IMAGE_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    started: StreamStarted
    partial: StreamPartial
    final: StreamSign
    nothing_signed: StreamSilence
    statistics: StreamStatistics
    refused_image: _streaming_pb2.RefusedImage
    draining: StreamDraining
    def __init__(self, started: _Optional[_Union[StreamStarted, _Mapping]] = ..., partial: _Optional[_Union[StreamPartial, _Mapping]] = ..., final: _Optional[_Union[StreamSign, _Mapping]] = ..., nothing_signed: _Optional[_Union[StreamSilence, _Mapping]] = ..., statistics: _Optional[_Union[StreamStatistics, _Mapping]] = ..., refused_image: _Optional[_Union[_streaming_pb2.RefusedImage, _Mapping]] = ..., draining: _Optional[_Union[StreamDraining, _Mapping]] = ...) -> None: ...

class StreamStarted(_message.Message):
    __slots__ = ("model_name", "model_version", "vocabulary_size", "threshold")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    vocabulary_size: int
    threshold: float
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., vocabulary_size: _Optional[int] = ..., threshold: _Optional[float] = ...) -> None: ...

class StreamPartial(_message.Message):
    __slots__ = ("hypotheses",)
    HYPOTHESES_FIELD_NUMBER: _ClassVar[int]
    hypotheses: _containers.RepeatedCompositeFieldContainer[StreamHypothesis]
    def __init__(self, hypotheses: _Optional[_Iterable[_Union[StreamHypothesis, _Mapping]]] = ...) -> None: ...

class StreamHypothesis(_message.Message):
    __slots__ = ("glosses",)
    GLOSSES_FIELD_NUMBER: _ClassVar[int]
    glosses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, glosses: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamSign(_message.Message):
    __slots__ = ("gloss", "probability", "start_seconds", "end_seconds", "alternatives", "rejected", "in_vocabulary", "number")
    GLOSS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    START_SECONDS_FIELD_NUMBER: _ClassVar[int]
    END_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    IN_VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    gloss: str
    probability: float
    start_seconds: float
    end_seconds: float
    alternatives: _containers.RepeatedCompositeFieldContainer[Prediction]
    rejected: bool
    in_vocabulary: float
    number: int
    def __init__(self, gloss: _Optional[str] = ..., probability: _Optional[float] = ..., start_seconds: _Optional[float] = ..., end_seconds: _Optional[float] = ..., alternatives: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., rejected: bool = ..., in_vocabulary: _Optional[float] = ..., number: _Optional[int] = ...) -> None: ...

class StreamSilence(_message.Message):
    __slots__ = ("since_seconds", "reason")
    SINCE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    since_seconds: float
    reason: NothingSigned
    def __init__(self, since_seconds: _Optional[float] = ..., reason: _Optional[_Union[NothingSigned, str]] = ...) -> None: ...

class StreamStatistics(_message.Message):
    __slots__ = ("received", "late", "dropped", "behind", "refused_images", "signs", "rejected_signs", "skipped", "is_last")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    REFUSED_IMAGES_FIELD_NUMBER: _ClassVar[int]
    SIGNS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_SIGNS_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    received: int
    late: int
    dropped: int
    behind: int
    refused_images: int
    signs: int
    rejected_signs: int
    skipped: int
    is_last: bool
    def __init__(self, received: _Optional[int] = ..., late: _Optional[int] = ..., dropped: _Optional[int] = ..., behind: _Optional[int] = ..., refused_images: _Optional[int] = ..., signs: _Optional[int] = ..., rejected_signs: _Optional[int] = ..., skipped: _Optional[int] = ..., is_last: bool = ...) -> None: ...

class StreamDraining(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class TranscribeVideoRequest(_message.Message):
    __slots__ = ("config", "chunk", "size")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    config: StreamConfig
    chunk: bytes
    size: int
    def __init__(self, config: _Optional[_Union[StreamConfig, _Mapping]] = ..., chunk: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class TranscribeVideoResponse(_message.Message):
    __slots__ = ("started", "progress", "final", "nothing_signed", "statistics")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    NOTHING_SIGNED_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    started: StreamStarted
    progress: TranscriptionProgress
    final: StreamSign
    nothing_signed: StreamSilence
    statistics: StreamStatistics
    def __init__(self, started: _Optional[_Union[StreamStarted, _Mapping]] = ..., progress: _Optional[_Union[TranscriptionProgress, _Mapping]] = ..., final: _Optional[_Union[StreamSign, _Mapping]] = ..., nothing_signed: _Optional[_Union[StreamSilence, _Mapping]] = ..., statistics: _Optional[_Union[StreamStatistics, _Mapping]] = ...) -> None: ...

class TranscriptionProgress(_message.Message):
    __slots__ = ("stage", "received_bytes", "recognised_seconds", "total_seconds", "warnings", "extracted_share")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECOGNISED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    EXTRACTED_SHARE_FIELD_NUMBER: _ClassVar[int]
    stage: TranscriptionStage
    received_bytes: int
    recognised_seconds: float
    total_seconds: float
    warnings: _containers.RepeatedScalarFieldContainer[str]
    extracted_share: float
    def __init__(self, stage: _Optional[_Union[TranscriptionStage, str]] = ..., received_bytes: _Optional[int] = ..., recognised_seconds: _Optional[float] = ..., total_seconds: _Optional[float] = ..., warnings: _Optional[_Iterable[str]] = ..., extracted_share: _Optional[float] = ...) -> None: ...

class GetServingStatusRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class GetServingStatusResponse(_message.Message):
    __slots__ = ("models", "memory_bytes", "memory_limit_bytes")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    memory_bytes: int
    memory_limit_bytes: int
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., memory_bytes: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("model_name", "alias", "is_default", "model_version", "refused_version", "reason", "memory_bytes", "running_calls", "loaded_at")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    REFUSED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_CALLS_FIELD_NUMBER: _ClassVar[int]
    LOADED_AT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    alias: str
    is_default: bool
    model_version: str
    refused_version: str
    reason: str
    memory_bytes: int
    running_calls: int
    loaded_at: str
    def __init__(self, model_name: _Optional[str] = ..., alias: _Optional[str] = ..., is_default: bool = ..., model_version: _Optional[str] = ..., refused_version: _Optional[str] = ..., reason: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., running_calls: _Optional[int] = ..., loaded_at: _Optional[str] = ...) -> None: ...

class RunEvaluationRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "split")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    split: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., split: _Optional[str] = ...) -> None: ...

class RunEvaluationResponse(_message.Message):
    __slots__ = ("summary",)
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    summary: ReportSummary
    def __init__(self, summary: _Optional[_Union[ReportSummary, _Mapping]] = ...) -> None: ...

class ReportSummary(_message.Message):
    __slots__ = ("report_id", "model_name", "model_version", "split", "clips", "top1", "top1_low", "top1_high", "top5", "greedy_top1", "blank_ratio", "glosses_predicted")
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    CLIPS_FIELD_NUMBER: _ClassVar[int]
    TOP1_FIELD_NUMBER: _ClassVar[int]
    TOP1_LOW_FIELD_NUMBER: _ClassVar[int]
    TOP1_HIGH_FIELD_NUMBER: _ClassVar[int]
    TOP5_FIELD_NUMBER: _ClassVar[int]
    GREEDY_TOP1_FIELD_NUMBER: _ClassVar[int]
    BLANK_RATIO_FIELD_NUMBER: _ClassVar[int]
    GLOSSES_PREDICTED_FIELD_NUMBER: _ClassVar[int]
    report_id: str
    model_name: str
    model_version: str
    split: str
    clips: int
    top1: float
    top1_low: float
    top1_high: float
    top5: float
    greedy_top1: float
    blank_ratio: float
    glosses_predicted: int
    def __init__(self, report_id: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., split: _Optional[str] = ..., clips: _Optional[int] = ..., top1: _Optional[float] = ..., top1_low: _Optional[float] = ..., top1_high: _Optional[float] = ..., top5: _Optional[float] = ..., greedy_top1: _Optional[float] = ..., blank_ratio: _Optional[float] = ..., glosses_predicted: _Optional[int] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("report_id",)
    REPORT_ID_FIELD_NUMBER: _ClassVar[int]
    report_id: str
    def __init__(self, report_id: _Optional[str] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("json", "html")
    JSON_FIELD_NUMBER: _ClassVar[int]
    HTML_FIELD_NUMBER: _ClassVar[int]
    json: str
    html: str
    def __init__(self, json: _Optional[str] = ..., html: _Optional[str] = ...) -> None: ...

class ListReportsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListReportsResponse(_message.Message):
    __slots__ = ("reports",)
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    reports: _containers.RepeatedCompositeFieldContainer[ReportSummary]
    def __init__(self, reports: _Optional[_Iterable[_Union[ReportSummary, _Mapping]]] = ...) -> None: ...
