"""What llama.cpp cannot do for a server: refused by the name of the field, never left out."""

from __future__ import annotations

from collections.abc import Iterator

from yaongi.api import Model
from yaongi.core.errors import CapabilityError
from yaongi.gguf_model import GGUFModel
from yaongi.serve.refusals import Refusal
from yaongi.serve.schemas import (
    Body,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    FreeFormat,
    NamedTool,
    Sampled,
)


def check_able(model: Model, body: Body) -> None:
    """Raise Refusal (400) where a request asks for what the model's runner does not have."""
    if not isinstance(model, GGUFModel):
        return
    if isinstance(body, EmbeddingRequest):
        error = CapabilityError(
            "This server runs a GGUF with llama.cpp, which gives it no embeddings: serve the "
            "model's own folder for them."
        )
        raise Refusal(400, error, code="unsupported", param="model")
    if field := next(_beyond_llamacpp(body), None):
        error = CapabilityError(
            "This server runs a GGUF with llama.cpp, which cannot do what '{field}' asks for: "
            "leave it out, or serve the model's own folder.",
            field=field,
        )
        raise Refusal(400, error, code="unsupported", param=field)


def _beyond_llamacpp(body: Body) -> Iterator[str]:
    """The fields that ask for every token's probability, or for a grammar."""
    if isinstance(body, ChatRequest):
        if body.logprobs:
            yield "logprobs"
        if body.top_logprobs:
            yield "top_logprobs"
        if body.tool_choice == "required" or isinstance(body.tool_choice, NamedTool):
            yield "tool_choice"
    if isinstance(body, CompletionRequest) and body.logprobs is not None:
        yield "logprobs"
    if isinstance(body, Sampled) and not isinstance(body.response_format, FreeFormat | None):
        yield "response_format"
