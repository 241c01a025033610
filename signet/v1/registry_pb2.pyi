from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListModelsRequest(_message.Message):
    __slots__ = ("model_name",)
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    def __init__(self, model_name: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("versions",)
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[ModelVersion]
    def __init__(self, versions: _Optional[_Iterable[_Union[ModelVersion, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("version", "card_json", "vocabulary", "files")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CARD_JSON_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    version: ModelVersion
    card_json: str
    vocabulary: _containers.RepeatedScalarFieldContainer[str]
    files: _containers.RepeatedCompositeFieldContainer[ModelFile]
    def __init__(self, version: _Optional[_Union[ModelVersion, _Mapping]] = ..., card_json: _Optional[str] = ..., vocabulary: _Optional[_Iterable[str]] = ..., files: _Optional[_Iterable[_Union[ModelFile, _Mapping]]] = ...) -> None: ...

class ListAliasesRequest(_message.Message):
    __slots__ = ("model_name", "include_deleted")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_DELETED_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    include_deleted: bool
    def __init__(self, model_name: _Optional[str] = ..., include_deleted: bool = ...) -> None: ...

class ListAliasesResponse(_message.Message):
    __slots__ = ("aliases",)
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    aliases: _containers.RepeatedCompositeFieldContainer[Alias]
    def __init__(self, aliases: _Optional[_Iterable[_Union[Alias, _Mapping]]] = ...) -> None: ...

class GetAliasRequest(_message.Message):
    __slots__ = ("model_name", "alias")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    alias: str
    def __init__(self, model_name: _Optional[str] = ..., alias: _Optional[str] = ...) -> None: ...

class GetAliasResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: Alias
    def __init__(self, alias: _Optional[_Union[Alias, _Mapping]] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "alias", "reason", "expected_from")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FROM_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    alias: str
    reason: str
    expected_from: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ..., expected_from: _Optional[str] = ...) -> None: ...

class PromoteResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: Alias
    def __init__(self, alias: _Optional[_Union[Alias, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("model_name", "alias", "reason", "expected_from")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FROM_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    alias: str
    reason: str
    expected_from: str
    def __init__(self, model_name: _Optional[str] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ..., expected_from: _Optional[str] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: Alias
    def __init__(self, alias: _Optional[_Union[Alias, _Mapping]] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("model_name", "alias", "reason", "expected_from")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FROM_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    alias: str
    reason: str
    expected_from: str
    def __init__(self, model_name: _Optional[str] = ..., alias: _Optional[str] = ..., reason: _Optional[str] = ..., expected_from: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ("alias",)
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    alias: Alias
    def __init__(self, alias: _Optional[_Union[Alias, _Mapping]] = ...) -> None: ...

class DeleteModelRequest(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class DeleteModelResponse(_message.Message):
    __slots__ = ("objects",)
    OBJECTS_FIELD_NUMBER: _ClassVar[int]
    objects: int
    def __init__(self, objects: _Optional[int] = ...) -> None: ...

class ExportModelRequest(_message.Message):
    __slots__ = ("model_name", "model_version")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ...) -> None: ...

class ExportModelResponse(_message.Message):
    __slots__ = ("chunk", "model_name", "model_version", "size")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    model_name: str
    model_version: str
    size: int
    def __init__(self, chunk: _Optional[bytes] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class ImportModelRequest(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    def __init__(self, chunk: _Optional[bytes] = ...) -> None: ...

class ImportModelResponse(_message.Message):
    __slots__ = ("model_name", "model_version", "is_new")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_NEW_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    is_new: bool
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., is_new: bool = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("model_name", "model_version", "aliases", "damaged", "created", "run_id", "dataset_name", "dataset_version", "vocabulary_size", "parameters", "val_clips", "val_top1", "val_top1_low", "val_top1_high", "val_greedy_top1")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_NAME_FIELD_NUMBER: _ClassVar[int]
    DATASET_VERSION_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_SIZE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    VAL_TOP1_FIELD_NUMBER: _ClassVar[int]
    VAL_TOP1_LOW_FIELD_NUMBER: _ClassVar[int]
    VAL_TOP1_HIGH_FIELD_NUMBER: _ClassVar[int]
    VAL_GREEDY_TOP1_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    damaged: bool
    created: str
    run_id: str
    dataset_name: str
    dataset_version: str
    vocabulary_size: int
    parameters: int
    val_clips: int
    val_top1: float
    val_top1_low: float
    val_top1_high: float
    val_greedy_top1: float
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., damaged: bool = ..., created: _Optional[str] = ..., run_id: _Optional[str] = ..., dataset_name: _Optional[str] = ..., dataset_version: _Optional[str] = ..., vocabulary_size: _Optional[int] = ..., parameters: _Optional[int] = ..., val_clips: _Optional[int] = ..., val_top1: _Optional[float] = ..., val_top1_low: _Optional[float] = ..., val_top1_high: _Optional[float] = ..., val_greedy_top1: _Optional[float] = ...) -> None: ...

class ModelFile(_message.Message):
    __slots__ = ("name", "sha256", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    size: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Alias(_message.Message):
    __slots__ = ("name", "model_version", "history", "older_moves", "version_before", "deleted")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    OLDER_MOVES_FIELD_NUMBER: _ClassVar[int]
    VERSION_BEFORE_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    name: str
    model_version: str
    history: _containers.RepeatedCompositeFieldContainer[AliasMove]
    older_moves: int
    version_before: str
    deleted: bool
    def __init__(self, name: _Optional[str] = ..., model_version: _Optional[str] = ..., history: _Optional[_Iterable[_Union[AliasMove, _Mapping]]] = ..., older_moves: _Optional[int] = ..., version_before: _Optional[str] = ..., deleted: bool = ...) -> None: ...

class AliasMove(_message.Message):
    __slots__ = ("moved", "from_version", "to_version", "reason", "rollback", "deleted")
    MOVED_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    TO_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    moved: str
    from_version: str
    to_version: str
    reason: str
    rollback: bool
    deleted: bool
    def __init__(self, moved: _Optional[str] = ..., from_version: _Optional[str] = ..., to_version: _Optional[str] = ..., reason: _Optional[str] = ..., rollback: bool = ..., deleted: bool = ...) -> None: ...
