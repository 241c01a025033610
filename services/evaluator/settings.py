"""The settings of the evaluator."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationError

from signet.errors import InvalidSetting
from signet.registry import LATEST
from signet.rpc.settings import ServiceSettings

UNKNOWN_COMMIT = "unknown"
MAX_COMPUTE_PROCESSES = 64


class EvaluatorSettings(ServiceSettings):
    """Settings of the evaluator. Each field is SIGNET_<NAME> in the environment and --<name> as a flag."""

    service: ClassVar[str] = "evaluator"

    model_name: str = Field(default="signet", description="The model that answers calls that name none")
    alias: str = Field(
        default=LATEST,
        description="The alias or the version that answers calls that name none; when an alias moves, its new version "
        "is served",
    )
    bundled_model: bool = Field(
        default=True,
        description="While the store has no version of the model, serve the one that comes with Signet: 100 signs of "
        "American Sign Language",
    )
    max_models: int = Field(
        default=8,
        ge=1,
        description="The most model versions in memory at once; a call that names another one has the least recently "
        "used one unloaded",
    )
    model_memory_mib: int = Field(
        default=1024, ge=1, description="The most memory in MiB that the model versions in memory may need together"
    )
    extractor: str = Field(
        default="", description="host:port of the extractor; without one, videos are refused and landmarks still served"
    )
    streams: int = Field(
        default=64,
        ge=0,
        le=128,
        description="Streams of RecognizeStream and TranscribeVideo at a time; more are refused",
    )
    refresh_seconds: float = Field(default=2.0, gt=0, description="How often to check whether the alias has moved")
    threads: int = Field(
        default=1,
        ge=0,
        description="Threads inside one model run; 0 means one per core. More threads answer a long clip sooner, and "
        "take more of the cores for each clip",
    )
    compute_processes: Literal["auto"] | Annotated[int, Field(ge=0, le=MAX_COMPUTE_PROCESSES)] = Field(
        default="auto",
        description="Processes that run models. 0 or 1: the evaluator's own process runs them. Each takes about 60 MiB "
        "of memory, and a copy of each model. auto: one for each usable core, at most 4",
    )
    commit: str = Field(default=UNKNOWN_COMMIT, description="Git commit of this code; every report names it")
    auto_evaluate: bool = Field(
        default=False,
        description="Evaluate each served version on its val clips, unless the store already has that report",
    )
    registry_writes: bool = Field(
        default=False,
        description="Let each caller of the Registry promote, roll back, delete and import models. With --tokens-file, "
        "callers whose token permits it can do so anyway",
    )

    @property
    def registry_writable(self) -> bool:
        """Whether calls of the Registry may change something. With tokens, their permissions decide."""
        return self.registry_writes or self.tokens_file is not None


def read_evaluator_settings() -> EvaluatorSettings:
    """The settings of the environment, for commands.

    Raises:
        InvalidSetting: a variable has an unusable value.
    """
    try:
        return EvaluatorSettings(_cli_parse_args=False)
    except ValidationError as error:
        fault = error.errors()[0]
        variable = "SIGNET_" + "_".join(map(str, fault["loc"])).upper()
        raise InvalidSetting(f"{variable}={fault['input']!r}: {fault['msg']}.") from error
