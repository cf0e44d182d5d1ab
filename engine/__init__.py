"""Nucleus: the completions contract on your own hardware.

>>> from engine import LLM
>>> with LLM("smollm2-135m-instruct") as llm:
...     print(llm.complete(prompt="The capital of France is", max_tokens=8, temperature=0).choices[0].text)

What is named here is loaded when it is first used, so that ``import engine`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.extras import explained

__version__ = "0.1.0"

if TYPE_CHECKING:
    from engine.async_llm import AsyncLLM
    from engine.contract.chat import ChatRequest
    from engine.contract.chat_responses import ChatChoice, ChatCompletion, ChatCompletionChunk, ChatMessage
    from engine.contract.requests import CompletionRequest
    from engine.contract.responses import Choice, Completion, CompletionChunk, Logprobs, Usage
    from engine.errors import EngineError
    from engine.llm import LLM
    from engine.many.generation import Generated
    from engine.many.scoring import Score
    from engine.sampling import Sampler, SamplingParams

_HOMES = {
    "AsyncLLM": "engine.async_llm",
    "ChatChoice": "engine.contract.chat_responses",
    "ChatCompletion": "engine.contract.chat_responses",
    "ChatCompletionChunk": "engine.contract.chat_responses",
    "ChatMessage": "engine.contract.chat_responses",
    "ChatRequest": "engine.contract.chat",
    "Choice": "engine.contract.responses",
    "Completion": "engine.contract.responses",
    "CompletionChunk": "engine.contract.responses",
    "CompletionRequest": "engine.contract.requests",
    "EngineError": "engine.errors",
    "Generated": "engine.many.generation",
    "LLM": "engine.llm",
    "Logprobs": "engine.contract.responses",
    "Sampler": "engine.sampling",
    "SamplingParams": "engine.sampling",
    "Score": "engine.many.scoring",
    "Usage": "engine.contract.responses",
}

__all__ = [
    "LLM",
    "AsyncLLM",
    "ChatChoice",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatMessage",
    "ChatRequest",
    "Choice",
    "Completion",
    "CompletionChunk",
    "CompletionRequest",
    "EngineError",
    "Generated",
    "Logprobs",
    "Sampler",
    "SamplingParams",
    "Score",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    try:
        home = importlib.import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        extra = "sampler" if _HOMES[name] == "engine.sampling" else "llm"
        raise explained(error, f"engine.{name}", extra) from None
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
