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
    __slots__ = ("preset", "corpus", "model_name", "pretrain", "start_from", "max_glosses", "samples_per_gloss", "device", "batch_size", "num_epochs", "branches", "hidden_dim", "hand_dim", "head", "sign_dim", "without", "num_layers", "dropout", "weight_decay", "lr", "optimizer", "gradient_norm", "accumulate", "precision", "ema_decay", "patience", "flat_start", "blank_penalty", "insertion_penalty", "repetition_penalty", "signing", "recombination", "target_accuracy", "train_past_target", "seed", "seeds", "folds", "publish", "jobs", "max_gpu_temperature")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    PRETRAIN_FIELD_NUMBER: _ClassVar[int]
    START_FROM_FIELD_NUMBER: _ClassVar[int]
    MAX_GLOSSES_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_PER_GLOSS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BRANCHES_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_DIM_FIELD_NUMBER: _ClassVar[int]
    HAND_DIM_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    SIGN_DIM_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    LR_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    ACCUMULATE_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    EMA_DECAY_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    FLAT_START_FIELD_NUMBER: _ClassVar[int]
    BLANK_PENALTY_FIELD_NUMBER: _ClassVar[int]
    INSERTION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    SIGNING_FIELD_NUMBER: _ClassVar[int]
    RECOMBINATION_FIELD_NUMBER: _ClassVar[int]
    TARGET_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    TRAIN_PAST_TARGET_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_GPU_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    preset: str
    corpus: str
    model_name: str
    pretrain: bool
    start_from: str
    max_glosses: int
    samples_per_gloss: int
    device: str
    batch_size: int
    num_epochs: int
    branches: int
    hidden_dim: int
    hand_dim: int
    head: str
    sign_dim: int
    without: str
    num_layers: int
    dropout: float
    weight_decay: float
    lr: float
    optimizer: str
    gradient_norm: float
    accumulate: int
    precision: str
    ema_decay: float
    patience: int
    flat_start: float
    blank_penalty: float
    insertion_penalty: float
    repetition_penalty: float
    signing: bool
    recombination: float
    target_accuracy: float
    train_past_target: bool
    seed: int
    seeds: int
    folds: int
    publish: str
    jobs: int
    max_gpu_temperature: float
    def __init__(self, preset: _Optional[str] = ..., corpus: _Optional[str] = ..., model_name: _Optional[str] = ..., pretrain: bool = ..., start_from: _Optional[str] = ..., max_glosses: _Optional[int] = ..., samples_per_gloss: _Optional[int] = ..., device: _Optional[str] = ..., batch_size: _Optional[int] = ..., num_epochs: _Optional[int] = ..., branches: _Optional[int] = ..., hidden_dim: _Optional[int] = ..., hand_dim: _Optional[int] = ..., head: _Optional[str] = ..., sign_dim: _Optional[int] = ..., without: _Optional[str] = ..., num_layers: _Optional[int] = ..., dropout: _Optional[float] = ..., weight_decay: _Optional[float] = ..., lr: _Optional[float] = ..., optimizer: _Optional[str] = ..., gradient_norm: _Optional[float] = ..., accumulate: _Optional[int] = ..., precision: _Optional[str] = ..., ema_decay: _Optional[float] = ..., patience: _Optional[int] = ..., flat_start: _Optional[float] = ..., blank_penalty: _Optional[float] = ..., insertion_penalty: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., signing: bool = ..., recombination: _Optional[float] = ..., target_accuracy: _Optional[float] = ..., train_past_target: bool = ..., seed: _Optional[int] = ..., seeds: _Optional[int] = ..., folds: _Optional[int] = ..., publish: _Optional[str] = ..., jobs: _Optional[int] = ..., max_gpu_temperature: _Optional[float] = ...) -> None: ...

class StartRunRequest(_message.Message):
    __slots__ = ("config", "resume_run_id")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RESUME_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    config: TrainConfig
    resume_run_id: str
    def __init__(self, config: _Optional[_Union[TrainConfig, _Mapping]] = ..., resume_run_id: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("device", "gpu_name", "gpu_memory_bytes", "parameters", "dataset_version", "glosses", "train_clips", "val_clips", "num_epochs", "seeds", "folds", "members", "epochs_before", "members_before")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    GPU_NAME_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    DATASET_VERSION_FIELD_NUMBER: _ClassVar[int]
    GLOSSES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_CLIPS_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    FOLDS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_BEFORE_FIELD_NUMBER: _ClassVar[int]
    device: str
    gpu_name: str
    gpu_memory_bytes: int
    parameters: int
    dataset_version: str
    glosses: int
    train_clips: int
    val_clips: int
    num_epochs: int
    seeds: int
    folds: int
    members: int
    epochs_before: int
    members_before: int
    def __init__(self, device: _Optional[str] = ..., gpu_name: _Optional[str] = ..., gpu_memory_bytes: _Optional[int] = ..., parameters: _Optional[int] = ..., dataset_version: _Optional[str] = ..., glosses: _Optional[int] = ..., train_clips: _Optional[int] = ..., val_clips: _Optional[int] = ..., num_epochs: _Optional[int] = ..., seeds: _Optional[int] = ..., folds: _Optional[int] = ..., members: _Optional[int] = ..., epochs_before: _Optional[int] = ..., members_before: _Optional[int] = ...) -> None: ...

class EpochFinished(_message.Message):
    __slots__ = ("epoch", "train_loss", "val_loss", "val_correct", "val_clips", "val_greedy_correct", "blank_ratio", "seconds", "best", "val_empty", "train_correct", "train_clips", "val_top5", "val_continuous_correct", "val_continuous_empty", "learning_rate", "actions", "member", "fold", "seed")
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
    VAL_TOP5_FIELD_NUMBER: _ClassVar[int]
    VAL_CONTINUOUS_CORRECT_FIELD_NUMBER: _ClassVar[int]
    VAL_CONTINUOUS_EMPTY_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    FOLD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
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
    val_top5: int
    val_continuous_correct: int
    val_continuous_empty: int
    learning_rate: float
    actions: _containers.RepeatedScalarFieldContainer[str]
    member: int
    fold: int
    seed: int
    def __init__(self, epoch: _Optional[int] = ..., train_loss: _Optional[float] = ..., val_loss: _Optional[float] = ..., val_correct: _Optional[int] = ..., val_clips: _Optional[int] = ..., val_greedy_correct: _Optional[int] = ..., blank_ratio: _Optional[float] = ..., seconds: _Optional[float] = ..., best: bool = ..., val_empty: _Optional[int] = ..., train_correct: _Optional[int] = ..., train_clips: _Optional[int] = ..., val_top5: _Optional[int] = ..., val_continuous_correct: _Optional[int] = ..., val_continuous_empty: _Optional[int] = ..., learning_rate: _Optional[float] = ..., actions: _Optional[_Iterable[str]] = ..., member: _Optional[int] = ..., fold: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class RunFinished(_message.Message):
    __slots__ = ("state", "model_name", "model_version", "val_accuracy", "val_greedy_accuracy", "val_clips", "goal_met", "collapsed", "seconds", "error", "val_continuous_accuracy", "val_top5_accuracy", "blank_ratio", "members", "seed_sd", "ensemble", "pretrained", "val_loss")
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
    VAL_CONTINUOUS_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    VAL_TOP5_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    BLANK_RATIO_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    SEED_SD_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    PRETRAINED_FIELD_NUMBER: _ClassVar[int]
    VAL_LOSS_FIELD_NUMBER: _ClassVar[int]
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
    val_continuous_accuracy: float
    val_top5_accuracy: float
    blank_ratio: float
    members: _containers.RepeatedCompositeFieldContainer[MemberResult]
    seed_sd: float
    ensemble: Tally
    pretrained: bool
    val_loss: float
    def __init__(self, state: _Optional[_Union[RunState, str]] = ..., model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., val_accuracy: _Optional[float] = ..., val_greedy_accuracy: _Optional[float] = ..., val_clips: _Optional[int] = ..., goal_met: bool = ..., collapsed: bool = ..., seconds: _Optional[float] = ..., error: _Optional[str] = ..., val_continuous_accuracy: _Optional[float] = ..., val_top5_accuracy: _Optional[float] = ..., blank_ratio: _Optional[float] = ..., members: _Optional[_Iterable[_Union[MemberResult, _Mapping]]] = ..., seed_sd: _Optional[float] = ..., ensemble: _Optional[_Union[Tally, _Mapping]] = ..., pretrained: bool = ..., val_loss: _Optional[float] = ...) -> None: ...

class MemberResult(_message.Message):
    __slots__ = ("fold", "seed", "epochs", "tally")
    FOLD_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    TALLY_FIELD_NUMBER: _ClassVar[int]
    fold: int
    seed: int
    epochs: int
    tally: Tally
    def __init__(self, fold: _Optional[int] = ..., seed: _Optional[int] = ..., epochs: _Optional[int] = ..., tally: _Optional[_Union[Tally, _Mapping]] = ...) -> None: ...

class Tally(_message.Message):
    __slots__ = ("clips", "correct", "top5", "continuous_correct", "greedy_correct", "empty", "continuous_empty", "blank_ratio", "concatenated", "gloss_errors", "stream_gloss_errors", "cut_gloss_errors", "signing_gloss_errors")
    CLIPS_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    TOP5_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_CORRECT_FIELD_NUMBER: _ClassVar[int]
    GREEDY_CORRECT_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    CONTINUOUS_EMPTY_FIELD_NUMBER: _ClassVar[int]
    BLANK_RATIO_FIELD_NUMBER: _ClassVar[int]
    CONCATENATED_FIELD_NUMBER: _ClassVar[int]
    GLOSS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    STREAM_GLOSS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    CUT_GLOSS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    SIGNING_GLOSS_ERRORS_FIELD_NUMBER: _ClassVar[int]
    clips: int
    correct: int
    top5: int
    continuous_correct: int
    greedy_correct: int
    empty: int
    continuous_empty: int
    blank_ratio: float
    concatenated: int
    gloss_errors: int
    stream_gloss_errors: int
    cut_gloss_errors: int
    signing_gloss_errors: int
    def __init__(self, clips: _Optional[int] = ..., correct: _Optional[int] = ..., top5: _Optional[int] = ..., continuous_correct: _Optional[int] = ..., greedy_correct: _Optional[int] = ..., empty: _Optional[int] = ..., continuous_empty: _Optional[int] = ..., blank_ratio: _Optional[float] = ..., concatenated: _Optional[int] = ..., gloss_errors: _Optional[int] = ..., stream_gloss_errors: _Optional[int] = ..., cut_gloss_errors: _Optional[int] = ..., signing_gloss_errors: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("run_id", "state", "epochs", "val_accuracy", "model_version", "members", "members_done", "val_clips")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    VAL_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_DONE_FIELD_NUMBER: _ClassVar[int]
    VAL_CLIPS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: RunState
    epochs: int
    val_accuracy: float
    model_version: str
    members: int
    members_done: int
    val_clips: int
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[_Union[RunState, str]] = ..., epochs: _Optional[int] = ..., val_accuracy: _Optional[float] = ..., model_version: _Optional[str] = ..., members: _Optional[int] = ..., members_done: _Optional[int] = ..., val_clips: _Optional[int] = ...) -> None: ...
