"""The routes of OpenAI's HTTP interface: each says what it takes and what it gives, in one screen.

Reference: https://platform.openai.com/docs/api-reference; ``/v1/tokenize`` is vLLM's ``/tokenize``.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from yaongi.core.errors import InputError
from yaongi.model.adapted import BASE
from yaongi.serve.able import check_able
from yaongi.serve.answers import ChatAnswer, TextAnswer, token_text
from yaongi.serve.grammar import ANY_OBJECT, Processors
from yaongi.serve.messages import conversation, must_call, offered
from yaongi.serve.refusals import JSON, Refusal
from yaongi.serve.schemas import (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    Function,
    JSONFormat,
    Sampled,
    SchemaFormat,
    TokenizeRequest,
)
from yaongi.serve.service import Asked, Service
from yaongi.serve.stream import streamed, while_there, whole

router = APIRouter(
    prefix="/v1",
    responses={
        "4XX": {"description": "The request cannot be answered; OpenAI's error object says why."},
        "5XX": {"description": "Not now, or a fault of the server; an error object says which."},
    },
)


@router.get("/models")
async def models(request: Request) -> Response:
    """The model and its adapters."""
    service = _service(request)
    return JSON({"object": "list", "data": [_model(service, name) for name in service.adapters]})


@router.get("/models/{name}")
async def model(request: Request, name: str) -> Response:
    """One of them."""
    return JSON(_model(_service(request), name))


@router.post("/chat/completions")
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """The answer to a conversation."""
    service = _service(request)
    service.adapter(body.model)
    check_able(service.model, body)
    max_tokens = body.max_completion_tokens or body.max_tokens
    fit = await service.fit(conversation(body.messages, offered(body)), max_tokens)
    asked = service.ask(
        body,
        [fit.ids],
        max_tokens=max_tokens,
        top_logprobs=body.top_logprobs or 0,
        processors=await _constraint(service, body, must_call(body)),
        dropped=fit.dropped,
    )
    answer = ChatAnswer(asked, service.tokenizer, logprobs=bool(body.logprobs))
    return await _answered(request, body, asked, answer)


@router.post("/completions")
async def completions(request: Request, body: CompletionRequest) -> Response:
    """Continuations of texts."""
    service = _service(request)
    service.adapter(body.model)
    check_able(service.model, body)
    prompts = await service.text_ids(body.prompt, "prompt")
    asked = service.ask(
        body,
        prompts,
        max_tokens=body.max_tokens,
        top_logprobs=body.logprobs or 0,
        processors=await _constraint(service, body),
    )
    answer = TextAnswer(asked, service.tokenizer, logprobs=body.logprobs is not None)
    return await _answered(request, body, asked, answer)


async def _constraint(
    service: Service, body: Sampled, functions: Sequence[Function] = ()
) -> Processors | None:
    """What keeps the answer to a call or a format, if it must be one."""
    if functions:
        described = [f.model_dump(include={"name", "parameters"}) for f in functions]
        return await service.grammar(lambda g: g.calls(described), "tools")
    match body.response_format:
        case SchemaFormat(json_schema=wrapped):
            return await service.grammar(lambda g: g.json(wrapped.schema_), "response_format")
        case JSONFormat():
            return await service.grammar(lambda g: g.json(ANY_OBJECT), "response_format")
        case _:
            return None


async def _answered(
    request: Request, body: Sampled, asked: Asked, answer: ChatAnswer | TextAnswer
) -> Response:
    events = _service(request).events(asked, _client(request))
    if not body.stream:
        return await whole(request, answer, events)
    usage = body.stream_options is not None and body.stream_options.include_usage
    return await streamed(request, answer, events, usage=usage)


@router.post("/embeddings")
async def embeddings(request: Request, body: EmbeddingRequest) -> Response:
    """The mean of the last layer's vectors of each text, of length 1."""
    service = _service(request)
    adapter = service.adapter(body.model)
    check_able(service.model, body)
    size = service.model.config.d_model
    if body.dimensions not in (None, size):
        raise Refusal(
            400,
            InputError("Embeddings of this model have {size} dimensions.", size=size),
            code="invalid_value",
            param="dimensions",
        )
    many = await service.text_ids(body.input, "input")
    vectors = await while_there(request, service.embed(many, adapter, _client(request)))
    data = [
        {"object": "embedding", "index": i, "embedding": _encoded(v, body.encoding_format)}
        for i, v in enumerate(vectors)
    ]
    n = sum(map(len, many))
    usage = {"prompt_tokens": n, "total_tokens": n}
    return JSON({"object": "list", "data": data, "model": body.model, "usage": usage})


@router.post("/tokenize")
async def tokenize(request: Request, body: TokenizeRequest) -> Response:
    """The ids of a text, or of the prompt a conversation becomes."""
    service = _service(request)
    if body.model is not None:
        service.adapter(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise Refusal(
            400,
            InputError("Give either a prompt or messages."),
            code="invalid_value",
            param="prompt",
        )
    ids = await service.tokenized(body)
    found: dict[str, Any] = {
        "count": len(ids),
        "max_model_len": service.model.context_len,
        "tokens": ids,
    }
    if body.return_token_strs:
        found["token_strs"] = [token_text(service.tokenizer, i) for i in ids]
    return JSON(found)


def _model(service: Service, name: str) -> dict[str, Any]:
    adapter = service.adapter(name)
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "yaongi",
        "parent": None if adapter == BASE else service.name,
        "max_model_len": service.model.context_len,
        "default_sampling_params": service.defaults,
        "chosen_sampling_params": sorted(service.chosen),
    }


def _encoded(vector: Any, form: str) -> Any:
    """float32, little-endian, is what OpenAI's clients ask for and decode."""
    if form == "float":
        return vector.tolist()
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()


def _service(request: Request) -> Service:
    return request.app.state.service


def _client(request: Request) -> str:
    return request.client.host if request.client else "127.0.0.1"
