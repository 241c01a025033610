from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNSPECIFIED: _ClassVar[RunState]
    RUN_STATE_QUEUED: _ClassVar[RunState]
    RUN_STATE_RUNNING: _ClassVar[RunState]
    RUN_STATE_SUCCEEDED: _ClassVar[RunState]
    RUN_STATE_STOPPED: _ClassVar[RunState]
    RUN_STATE_FAILED: _ClassVar[RunState]
    RUN_STATE_INTERRUPTED: _ClassVar[RunState]
RUN_STATE_UNSPECIFIED: RunState
RUN_STATE_QUEUED: RunState
RUN_STATE_RUNNING: RunState
RUN_STATE_SUCCEEDED: RunState
RUN_STATE_STOPPED: RunState
RUN_STATE_FAILED: RunState
RUN_STATE_INTERRUPTED: RunState

class TrainConfig(_message.Message):
    __slots__ = ("corpus", "model_name", "max_glosses", "samples_per_gloss", "device", "batch_size", "num_epochs", "hidden_dim", "num_layers", "dropout", "weight_decay", "lr", "optimizer", "blank_penalty", "target_accuracy", "train_past_target", "seed", "max_gpu_temperature")
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_GLOSSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_GLOSS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_DIM_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    LR_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    BLANK_PENALTY_FIELD_NUMBER: _ClassVar[int]
    TARGET_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    TRAIN_PAST_TARGET_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_GPU_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    corpus: str
    model_name: str
    max_glosses: int
    samples_per_gloss: int
    device: str
    batch_size: int
    num_epochs: int
    hidden_dim: int
    num_layers: int
    dropout: float
    weight_decay: float
    lr: float
    optimizer: str
    blank_penalty: float
    target_accuracy: float
    train_past_target: bool
    seed: int
    max_gpu_temperature: float
    def __init__(self, corpus: _Optional[str] = ..., model_name: _Optional[str] = ..., max_glosses: _Optional[int] = ..., samples_per_gloss: _Optional[int] = ..., device: _Optional[str] = ..., batch_size: _Optional[int] = ..., num_epochs: _Optional[int] = ..., hidden_dim: _Optional[int] = ..., num_layers: _Optional[int] = ..., dropout: _Optional[float] = ..., weight_decay: _Optional[float] = ..., lr: _Optional[float] = ..., optimizer: _Optional[str] = ..., blank_penalty: _Optional[float] = ..., target_accuracy: _Optional[float] = ..., train_past_target: bool = ..., seed: _Optional[int] = ..., max_gpu_temperature: _Optional[float] = ...) -> None: ...

class StartRunRequest(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: TrainConfig
    def __init__(self, config: _Optional[_Union[TrainConfig, _Mapping]] = ...) -> None: ...

class StartRunResponse(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("started", "epoch", "finished", "queued")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    started: RunStarted
    epoch: EpochFinished
    finished: RunFinished
    queued: RunQueued
    def __init__(self, started: _Optional[_Union[RunStarted, _Mapping]] = ..., epoch: _Optional[_Union[EpochFinished, _Mapping]] = ..., finished: _Optional[_Union[RunFinished, _Mapping]] = ..., queued: _Optional[_Union[RunQueued, _Mapping]] = ...) -> None: ...

class RunQueued(_message.Message):
    __slots__ = ("runs_ahead",)
    RUNS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    runs_ahead: int
    def __init__(self, runs_ahead: _Optional[int] = ...) -> None: ...

class RunStarted(_message.Message):
    __slots__ = ("device", "gpu_name", "gpu_memory_bytes", "parameters", "dataset_version", "glosses", "train_clips", "val_clips", "num_epochs")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GPU_NAME_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DATASET_VERSION_FIELD_NUMBER: _ClassVar[int]
    GLOSSES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_CLIPS_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    device: str
    gpu_name: str
    gpu_memory_bytes: int
    parameters: int
    dataset_version: str
    glosses: int
    train_clips: int
    val_clips: int
    num_epochs: int
    def __init__(self, device: _Optional[str] = ..., gpu_name: _Optional[str] = ..., gpu_memory_bytes: _Optional[int] = ..., parameters: _Optional[int] = ..., dataset_version: _Optional[str] = ..., glosses: _Optional[int] = ..., train_clips: _Optional[int] = ..., val_clips: _Optional[int] = ..., num_epochs: _Optional[int] = ...) -> None: ...

class EpochFinished(_message.Message):
    __slots__ = ("epoch", "train_loss", "val_loss", "val_correct", "val_clips", "val_greedy_correct", "blank_ratio", "seconds", "best", "val_empty", "train_correct", "train_clips")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    VAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    VAL_CORRECT_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    VAL_GREEDY_CORRECT_FIELD_NUMBER: _ClassVar[int]
    BLANK_RATIO_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    VAL_EMPTY_FIELD_NUMBER: _ClassVar[int]
    TRAIN_CORRECT_FIELD_NUMBER: _ClassVar[int]
    TRAIN_CLIPS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    train_loss: float
    val_loss: float
    val_correct: int
    val_clips: int
    val_greedy_correct: int
    blank_ratio: float
    seconds: float
    best: bool
    val_empty: int
    train_correct: int
    train_clips: int
    def __init__(self, epoch: _Optional[int] = ..., train_loss: _Optional[float] = ..., val_loss: _Optional[float] = ..., val_correct: _Optional[int] = ..., val_clips: _Optional[int] = ..., val_greedy_correct: _Optional[int] = ..., blank_ratio: _Optional[float] = ..., seconds: _Optional[float] = ..., best: bool = ..., val_empty: _Optional[int] = ..., train_correct: _Optional[int] = ..., train_clips: _Optional[int] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("state", "model_name", "model_version", "val_accuracy", "val_greedy_accuracy", "val_clips", "goal_met", "collapsed", "seconds", "error")
    STATE_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    VAL_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    VAL_GREEDY_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    GOAL_MET_FIELD_NUMBER: _ClassVar[int]
    COLLAPSED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    state: RunState
    model_name: str
    model_version: str
    val_accuracy: float
    val_greedy_accuracy: float
    val_clips: int
    goal_met: bool
    collapsed: bool
    seconds: float
    error: str
    def __init__(self, state: _Optional[_Union[RunState, str]] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., val_accuracy: _Optional[float] = ..., val_greedy_accuracy: _Optional[float] = ..., val_clips: _Optional[int] = ..., goal_met: bool = ..., collapsed: bool = ..., seconds: _Optional[float] = ..., error: _Optional[str] = ...) -> None: ...

class StopRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class StopRunResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: RunState
    def __init__(self, state: _Optional[_Union[RunState, str]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunSummary]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunSummary, _Mapping]]] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run_id", "state", "epochs", "val_accuracy", "model_version")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    VAL_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: RunState
    epochs: int
    val_accuracy: float
    model_version: str
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[_Union[RunState, str]] = ..., epochs: _Optional[int] = ..., val_accuracy: _Optional[float] = ..., model_version: _Optional[str] = ...) -> None: ...
