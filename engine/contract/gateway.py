"""What a gateway asks of a server behind it, in the names that SGLang and its gateway SMG have for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.contract.responses import Answer, Count


class RankLoad(Answer):
    """The load of one engine; a request counts here once for each of its choices."""

    dp_rank: Literal[0] = Field(default=0, description="One process is one engine.")
    num_running_reqs: Count = Field(description="Choices that have a slot.")
    num_waiting_reqs: Count = Field(description="Choices that wait for one.")
    num_total_reqs: Count
    max_running_requests: Count = Field(description="Choices that can run at once.")
    num_used_tokens: Count = Field(description="Tokens that the KV cache holds.")
    max_total_num_tokens: Count = Field(description="Tokens that it can hold.")
    token_usage: float = Field(ge=0, le=1, description="The part of it that is in use.")
    utilization: float = Field(ge=0, le=1, description="The part of the slots that is in use.")
    gen_throughput: float = Field(
        ge=0,
        description="Tokens a second that the choices which run are expected to get now; 0 if none runs.",
    )
    cache_hit_rate: float = Field(
        ge=0, le=1, description="The part of all prompt tokens so far that was in the cache."
    )


class ServerLoad(Answer):
    """How busy a server is."""

    timestamp: str = Field(description="When this was so, by ISO 8601 in UTC.")
    version: str = Field(examples=["nucleus-0.1.0"])
    dp_rank_count: Literal[1] = 1
    loads: list[RankLoad] = Field(min_length=1, max_length=1)


class WorkerInfo(Answer):
    """What a server serves, and how much at once."""

    model_id: str = Field(description="The name to ask for it by.")
    served_model_name: str
    version: str = Field(description="Of Nucleus.")
    context_length: Count = Field(description="Most tokens of a prompt and its completion together.")
    max_total_tokens: Count = Field(description="Tokens that the KV cache can hold.")
    max_running_requests: Count = Field(description="Choices that can run at once.")
    is_embedding: Literal[False] = False
    tp_size: Literal[1] = 1
    dp_size: Literal[1] = 1
    pp_size: Literal[1] = 1


class ServedModelInfo(Answer):
    """What kind of model a server has."""

    served_model_name: str = Field(description="The name to ask for it by.")
    is_generation: Literal[True] = True
    has_image_understanding: Literal[False] = False
    has_audio_understanding: Literal[False] = False
