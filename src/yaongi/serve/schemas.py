"""What a client may send: OpenAI's request bodies, each field typed and bounded.

Fields OpenAI has and a language model on its own has no use for are taken and not looked at;
unknown ones are refused with the nearest name. ``top_k``, ``min_p`` and ``repetition_penalty`` are
vLLM's additions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_N = 16
MAX_STOPS = 16
MAX_TEXTS = 256
SEEDS = 1 << 63

Name = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=1 << 20)]
Ids = Annotated[list[Annotated[int, Field(ge=0, lt=1 << 31)]], Field(min_length=1)]
Prompts = Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)] | Ids | Annotated[
    list[Ids], Field(min_length=1, max_length=MAX_TEXTS)
]  # fmt: skip
Stop = Annotated[str, Field(max_length=256)]
Zero = Annotated[float, Field(ge=0, le=0)]


class Body(BaseModel):
    """A JSON object with known fields only; types are taken as they come."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def field_names() -> set[str]:
    """Of all bodies and what is in them."""
    kinds, names = [Body], set[str]()
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        names |= {field.alias or name for name, field in kind.model_fields.items()}
    return names


class Function(Body):
    """A function the model may call; ``parameters`` is a JSON schema."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    """OpenAI's wrapper of a function."""

    type: Literal["function"] = "function"
    function: Function


class NamedFunction(Body):
    """A function by name."""

    name: Name


class NamedTool(Body):
    """The one tool to call."""

    type: Literal["function"] = "function"
    function: NamedFunction


class CalledFunction(Body):
    """What was called, the arguments as JSON text."""

    name: Name
    arguments: Text


class Call(Body):
    """A call the assistant made earlier."""

    id: Text | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class Part(Body):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: Text


class Turn(Body):
    """A message. ``developer`` is OpenAI's newer name of ``system``."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    name: Text | None = None
    reasoning_content: Text | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: Text | None = None
    refusal: Text | None = None


class StreamOptions(Body):
    """Whether the last chunk tells the numbers of tokens."""

    include_usage: bool = False
    include_obfuscation: bool = False


class Schema(Body):
    """A JSON schema with a name, as OpenAI wraps it."""

    name: Name
    description: Text | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class FreeFormat(Body):
    """No constraint."""

    type: Literal["text"]


class JSONFormat(Body):
    """Any JSON object."""

    type: Literal["json_object"]


class SchemaFormat(Body):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: Schema


Format = Annotated[FreeFormat | JSONFormat | SchemaFormat, Field(discriminator="type")]


class Sampled(Body):
    """What completions and chat completions share. ``GET /v1/models`` says which sampling settings
    a request gets that gives none."""

    model: Name
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_N)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Format | None = None
    user: Text | None = None


class ChatRequest(Sampled):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Turn], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Name | None = None
    modalities: list[Literal["text"]] | None = None
    metadata: dict[str, Text] | None = None
    store: bool | None = None
    service_tier: Name | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    verbosity: Name | None = None


class CompletionRequest(Sampled):
    """``POST /v1/completions``; a prompt is text or ids, one or several."""

    prompt: Prompts
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = 16
    echo: Literal[False] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None


class EmbeddingRequest(Body):
    """``POST /v1/embeddings``."""

    model: Name
    input: Prompts
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: Text | None = None


class TokenizeRequest(Body):
    """``POST /v1/tokenize``: a text, or the prompt a conversation becomes; vLLM's fields. No model
    needs to be named: all here have the same tokenizer."""

    model: Name | None = None
    prompt: Text | None = None
    messages: Annotated[list[Turn], Field(min_length=1, max_length=4096)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    return_token_strs: bool = False
