from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class LandmarkFrames(_message.Message):
    __slots__ = ("seconds", "float16", "float32")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FLOAT16_FIELD_NUMBER: _ClassVar[int]
    FLOAT32_FIELD_NUMBER: _ClassVar[int]
    seconds: _containers.RepeatedScalarFieldContainer[float]
    float16: bytes
    float32: bytes
    def __init__(self, seconds: _Optional[_Iterable[float]] = ..., float16: _Optional[bytes] = ..., float32: _Optional[bytes] = ...) -> None: ...

class EncodedImage(_message.Message):
    __slots__ = ("seconds", "data")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    data: bytes
    def __init__(self, seconds: _Optional[float] = ..., data: _Optional[bytes] = ...) -> None: ...

class RefusedImage(_message.Message):
    __slots__ = ("seconds", "reason", "message")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    reason: str
    message: str
    def __init__(self, seconds: _Optional[float] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
