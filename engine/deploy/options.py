"""What a cluster is told to serve: models, how many replicas each has, and who may ask."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.contract.messages import contract_error, to_invalid_request
from engine.loading.options import EngineOptions
from engine.models.names import served_name
from engine.settings import List

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST_SPARE = 2
_SLOTS_A_SPARE = 4


class ModelOptions(EngineOptions):
    """A model, how an engine runs it, and how many engines do."""

    replicas: int = Field(1, ge=1, description="Engines that run it, each in a process of its own.")
    max_replicas: int | None = Field(
        None,
        ge=1,
        description="Most of them: their number follows the load between these two. (default: it stays)",
    )
    cores: float = Field(1.0, gt=0, allow_inf_nan=False, description="Cores that each takes of its machine.")
    gpus: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="GPUs that each takes; a part of one, such as 0.5."
    )
    shutdown_grace: float = Field(
        20.0, ge=0, le=86400, description="Seconds that running requests have when a replica is to end."
    )
    deployment: dict[str, Any] = Field(
        {}, description="More for `serve.deployment`, in its own words; it counts before what is above."
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise contract_error(
                f"max_replicas: should be at least replicas, {self.replicas}, not {self.max_replicas}"
            )
        return self

    @property
    def name(self) -> str:
        """The model's name in requests and answers."""
        return self.alias or served_name(self.model)

    @property
    def max_ongoing(self) -> int:
        """Requests that a replica holds at once: one a slot, and enough beside them that no slot waits.

        The others wait where any replica can still take them, and where none is lost with one.
        """
        spare = max(_LEAST_SPARE, self.parallel // _SLOTS_A_SPARE)
        return min(self.parallel + spare, self.max_requests)

    @property
    def max_waiting(self) -> int:
        """Requests that wait for a replica, beyond which 429 is answered."""
        return max(1, self.max_requests - self.max_ongoing) * (self.max_replicas or self.replicas)

    def engine_options(self) -> EngineOptions:
        """Return what the engine of a replica is loaded with: it uses the cores that the replica has."""
        given = {name: getattr(self, name) for name in EngineOptions.model_fields}
        threads = self.threads or max(1, math.floor(self.cores))
        return EngineOptions(**given | {"alias": self.name, "threads": threads})


class DoorOptions(BaseModel):
    """Who may ask, and what is logged; as ``nucleus serve`` has it."""

    model_config = ConfigDict(extra="forbid")

    api_key: List | None = Field(
        None, repr=False, description="Keys, separated by commas; others on the cluster can read them here."
    )
    api_key_file: Path | None = Field(
        None, description="File with one key a line, on every machine; # begins a comment."
    )
    allowed_host: List = Field(
        [],
        description="Names that clients without a key may know the cluster by, besides localhost; * is any.",
    )
    cors_origin: List = Field([], description="Origins whose web pages may call it; * is any.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Lines of text, or JSON objects.")
    log_prompts: bool = Field(False, description="Log what is asked, too.")

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.api_key == []:
            raise contract_error("api_key: should hold at least one key")
        return self


class ClusterOptions(DoorOptions):
    """Everything that :func:`engine.deploy.ray.build` can be told."""

    models: list[ModelOptions] = Field(
        min_length=1, description="What is served; of one model its fields may stand here themselves."
    )
    router: Literal["auto", "on", "off"] = Field(
        "auto",
        description="A process in front that reads which model is asked for, and asks again elsewhere where "
        "a replica dies: auto with several models and with `routing: prefix`.",
    )
    router_replicas: int = Field(1, ge=1, description="How many there are of it.")
    routing: Literal["load", "prefix", "session"] = Field(
        "load",
        description="Which replica a request goes to: one that does less, one that has seen a prompt that "
        "begins alike, or the one of its header `x-session-id`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: Any) -> Any:
        """Take the fields of one model from the top, where a command line has them."""
        if not isinstance(given, dict):
            return given
        flat = {name: value for name, value in given.items() if name in ModelOptions.model_fields}
        if "models" not in given:
            return {name: value for name, value in given.items() if name not in flat} | {"models": [flat]}
        if flat:
            raise contract_error(f"{min(flat)}: belongs to one of models, as models is given")
        return given

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        names = [model.name for model in self.models]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise contract_error(
                f"models: should differ in their names, and two are {twice!r}; give an alias"
            )
        if self.router == "off" and self.needs_router:
            raise contract_error("router: cannot be off with several models or with routing: prefix")
        return self

    @property
    def needs_router(self) -> bool:
        """Whether somebody has to read a request before a replica gets it."""
        return len(self.models) > 1 or self.routing == "prefix"

    @property
    def has_router(self) -> bool:
        """Whether there is one."""
        return self.router == "on" or self.needs_router

    def doors(self) -> DoorOptions:
        """Return the part that every process needs."""
        return DoorOptions(**{name: getattr(self, name) for name in DoorOptions.model_fields})


def cluster_options(given: Mapping[str, Any] | ClusterOptions) -> ClusterOptions:
    """Return checked options.

    Raises:
        InvalidRequestError: one is unknown, of a wrong type or out of range; it names the first.
    """
    if isinstance(given, ClusterOptions):
        return given
    try:
        return ClusterOptions.model_validate(dict(given))
    except ValidationError as error:
        raise to_invalid_request(error) from None
