from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrollRequest(_message.Message):
    __slots__ = ("gloss", "model_name", "model_version", "allow_similar", "landmarks", "video", "example_name")
    GLOSS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SIMILAR_FIELD_NUMBER: _ClassVar[int]
    LANDMARKS_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_NAME_FIELD_NUMBER: _ClassVar[int]
    gloss: str
    model_name: str
    model_version: str
    allow_similar: bool
    landmarks: bytes
    video: bytes
    example_name: str
    def __init__(self, gloss: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., allow_similar: bool = ..., landmarks: _Optional[bytes] = ..., video: _Optional[bytes] = ..., example_name: _Optional[str] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: EnrolmentResult
    def __init__(self, result: _Optional[_Union[EnrolmentResult, _Mapping]] = ...) -> None: ...

class ForgetRequest(_message.Message):
    __slots__ = ("gloss", "model_name", "model_version")
    GLOSS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    gloss: str
    model_name: str
    model_version: str
    def __init__(self, gloss: _Optional[str] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ForgetResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: EnrolmentResult
    def __init__(self, result: _Optional[_Union[EnrolmentResult, _Mapping]] = ...) -> None: ...

class EnrolmentResult(_message.Message):
    __slots__ = ("model_name", "model_version", "parent_version", "vocabulary_size", "measured_on", "clips", "parent_correct", "correct", "warnings", "seconds")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    MEASURED_ON_FIELD_NUMBER: _ClassVar[int]
    CLIPS_FIELD_NUMBER: _ClassVar[int]
    PARENT_CORRECT_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    parent_version: str
    vocabulary_size: int
    measured_on: str
    clips: int
    parent_correct: int
    correct: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    seconds: float
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., parent_version: _Optional[str] = ..., vocabulary_size: _Optional[int] = ..., measured_on: _Optional[str] = ..., clips: _Optional[int] = ..., parent_correct: _Optional[int] = ..., correct: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ..., seconds: _Optional[float] = ...) -> None: ...
