"""What the evaluator can be told."""

from pydantic import Field

from signet.registry import LATEST
from signet.rpc.settings import ServiceSettings


class EvaluatorSettings(ServiceSettings):
    """Settings of the evaluator. Each field is SIGNET_<NAME> in the environment and --<name> as a flag."""

    model_name: str = Field(default="signet", description="Which model is served")
    alias: str = Field(
        default=LATEST, description="The alias, or the version, that is served; an alias is followed when it moves"
    )
    extractor: str = Field(
        default="", description="host:port of the extractor; without one, videos are refused and landmarks still served"
    )
    refresh_seconds: float = Field(default=2.0, gt=0, description="How often to look whether the alias has moved")
    threads: int = Field(default=0, ge=0, description="Threads inside one model run; 0 takes one per core")
    commit: str = Field(default="unknown", description="Git commit of this code, named in every report")
    auto_evaluate: bool = Field(
        default=False,
        description="Measure each version on its val clips when it begins to be served, unless it was measured before",
    )
