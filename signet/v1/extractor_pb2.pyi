from signet.v1 import streaming_pb2 as _streaming_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExtractionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXTRACTION_STATE_UNSPECIFIED: _ClassVar[ExtractionState]
    EXTRACTION_STATE_SELECTING: _ClassVar[ExtractionState]
    EXTRACTION_STATE_RUNNING: _ClassVar[ExtractionState]
    EXTRACTION_STATE_SUCCEEDED: _ClassVar[ExtractionState]
    EXTRACTION_STATE_CANCELLED: _ClassVar[ExtractionState]
    EXTRACTION_STATE_FAILED: _ClassVar[ExtractionState]
EXTRACTION_STATE_UNSPECIFIED: ExtractionState
EXTRACTION_STATE_SELECTING: ExtractionState
EXTRACTION_STATE_RUNNING: ExtractionState
EXTRACTION_STATE_SUCCEEDED: ExtractionState
EXTRACTION_STATE_CANCELLED: ExtractionState
EXTRACTION_STATE_FAILED: ExtractionState

class StartExtractionRequest(_message.Message):
    __slots__ = ("corpus", "max_glosses", "samples_per_gloss", "splits", "glosses")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    MAX_GLOSSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_GLOSS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    GLOSSES_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    max_glosses: int
    samples_per_gloss: int
    splits: _containers.RepeatedScalarFieldContainer[str]
    glosses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, corpus: _Optional[str] = ..., max_glosses: _Optional[int] = ..., samples_per_gloss: _Optional[int] = ..., splits: _Optional[_Iterable[str]] = ..., glosses: _Optional[_Iterable[str]] = ...) -> None: ...

class StartExtractionResponse(_message.Message):
    __slots__ = ("extraction_id",)
    EXTRACTION_ID_FIELD_NUMBER: _ClassVar[int]
    extraction_id: str
    def __init__(self, extraction_id: _Optional[str] = ...) -> None: ...

class WatchExtractionRequest(_message.Message):
    __slots__ = ("extraction_id",)
    EXTRACTION_ID_FIELD_NUMBER: _ClassVar[int]
    extraction_id: str
    def __init__(self, extraction_id: _Optional[str] = ...) -> None: ...

class WatchExtractionResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: ExtractionProgress
    def __init__(self, progress: _Optional[_Union[ExtractionProgress, _Mapping]] = ...) -> None: ...

class CancelExtractionRequest(_message.Message):
    __slots__ = ("extraction_id",)
    EXTRACTION_ID_FIELD_NUMBER: _ClassVar[int]
    extraction_id: str
    def __init__(self, extraction_id: _Optional[str] = ...) -> None: ...

class CancelExtractionResponse(_message.Message):
    __slots__ = ("progress",)
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    progress: ExtractionProgress
    def __init__(self, progress: _Optional[_Union[ExtractionProgress, _Mapping]] = ...) -> None: ...

class ExtractionProgress(_message.Message):
    __slots__ = ("extraction_id", "corpus", "state", "total", "extracted", "present", "broken", "missing", "frames", "glosses", "failures", "elapsed_seconds", "error")
    EXTRACTION_ID_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    EXTRACTED_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    BROKEN_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    GLOSSES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    extraction_id: str
    corpus: str
    state: ExtractionState
    total: int
    extracted: int
    present: int
    broken: int
    missing: int
    frames: int
    glosses: _containers.RepeatedScalarFieldContainer[str]
    failures: _containers.RepeatedCompositeFieldContainer[ClipFailure]
    elapsed_seconds: float
    error: str
    def __init__(self, extraction_id: _Optional[str] = ..., corpus: _Optional[str] = ..., state: _Optional[_Union[ExtractionState, str]] = ..., total: _Optional[int] = ..., extracted: _Optional[int] = ..., present: _Optional[int] = ..., broken: _Optional[int] = ..., missing: _Optional[int] = ..., frames: _Optional[int] = ..., glosses: _Optional[_Iterable[str]] = ..., failures: _Optional[_Iterable[_Union[ClipFailure, _Mapping]]] = ..., elapsed_seconds: _Optional[float] = ..., error: _Optional[str] = ...) -> None: ...

class ClipFailure(_message.Message):
    __slots__ = ("clip_id", "reason", "message")
    CLIP_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    clip_id: str
    reason: str
    message: str
    def __init__(self, clip_id: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ExtractClipRequest(_message.Message):
    __slots__ = ("video", "clip_id")
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    CLIP_ID_FIELD_NUMBER: _ClassVar[int]
    video: bytes
    clip_id: str
    def __init__(self, video: _Optional[bytes] = ..., clip_id: _Optional[str] = ...) -> None: ...

class ExtractClipResponse(_message.Message):
    __slots__ = ("landmarks", "decode_seconds", "landmark_seconds")
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LANDMARK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    landmarks: bytes
    decode_seconds: float
    landmark_seconds: float
    def __init__(self, landmarks: _Optional[bytes] = ..., decode_seconds: _Optional[float] = ..., landmark_seconds: _Optional[float] = ...) -> None: ...

class ExtractClipStreamRequest(_message.Message):
    __slots__ = ("chunk", "clip_id", "size", "progress")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    CLIP_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    clip_id: str
    size: int
    progress: bool
    def __init__(self, chunk: _Optional[bytes] = ..., clip_id: _Optional[str] = ..., size: _Optional[int] = ..., progress: bool = ...) -> None: ...

class ExtractClipStreamResponse(_message.Message):
    __slots__ = ("landmarks", "part", "decode_seconds", "landmark_seconds", "tracked_share")
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LANDMARK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRACKED_SHARE_FIELD_NUMBER: _ClassVar[int]
    landmarks: bytes
    part: int
    decode_seconds: float
    landmark_seconds: float
    tracked_share: float
    def __init__(self, landmarks: _Optional[bytes] = ..., part: _Optional[int] = ..., decode_seconds: _Optional[float] = ..., landmark_seconds: _Optional[float] = ..., tracked_share: _Optional[float] = ...) -> None: ...

class ExtractStreamRequest(_message.Message):
    __slots__ = ("config", "image")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    config: ExtractStreamConfig
    image: _streaming_pb2.EncodedImage
    def __init__(self, config: _Optional[_Union[ExtractStreamConfig, _Mapping]] = ..., image: _Optional[_Union[_streaming_pb2.EncodedImage, _Mapping]] = ...) -> None: ...

class ExtractStreamConfig(_message.Message):
    __slots__ = ("drop_when_behind",)
    DROP_WHEN_BEHIND_FIELD_NUMBER: _ClassVar[int]
    drop_when_behind: bool
    def __init__(self, drop_when_behind: bool = ...) -> None: ...

class ExtractStreamResponse(_message.Message):
    __slots__ = ("started", "landmarks", "refused", "ended", "skipped", "dropped")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    started: ExtractStreamStarted
    landmarks: _streaming_pb2.LandmarkFrames
    refused: _streaming_pb2.RefusedImage
    ended: ExtractStreamEnded
    skipped: int
    dropped: int
    def __init__(self, started: _Optional[_Union[ExtractStreamStarted, _Mapping]] = ..., landmarks: _Optional[_Union[_streaming_pb2.LandmarkFrames, _Mapping]] = ..., refused: _Optional[_Union[_streaming_pb2.RefusedImage, _Mapping]] = ..., ended: _Optional[_Union[ExtractStreamEnded, _Mapping]] = ..., skipped: _Optional[int] = ..., dropped: _Optional[int] = ...) -> None: ...

class ExtractStreamStarted(_message.Message):
    __slots__ = ("extractor",)
    EXTRACTOR_FIELD_NUMBER: _ClassVar[int]
    extractor: str
    def __init__(self, extractor: _Optional[str] = ...) -> None: ...

class ExtractStreamEnded(_message.Message):
    __slots__ = ("received", "tracked")
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TRACKED_FIELD_NUMBER: _ClassVar[int]
    received: int
    tracked: int
    def __init__(self, received: _Optional[int] = ..., tracked: _Optional[int] = ...) -> None: ...
