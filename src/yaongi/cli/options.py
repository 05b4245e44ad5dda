"""Options several verbs share, so that they read and behave the same everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from yaongi.core.artifact import Artifact
from yaongi.core.i18n import translate as _
from yaongi.core.install import program
from yaongi.core.licences import terms

Command = Callable[..., Any]

json_option = click.option("--json", "as_json", is_flag=True, help=_("Print the result as JSON."))
out_option = click.option(
    "--out", type=click.Path(path_type=Path), help=_("Where the result goes.")
)
seed_option = click.option(
    "--seed", type=int, default=0, show_default=True, help=_("Where random choices begin.")
)
model_option = click.option(
    "--model", type=click.Path(path_type=Path), help=_("A model to start from.")
)
recipe_argument = click.argument("recipe", type=click.Path(path_type=Path))
dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help=_("Only check: build the model without memory and run a step of a narrow copy."),
)
overrides_argument = click.argument("overrides", nargs=-1, metavar="[a.b=c]...")

adapter_option = click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help=_("An adapter of this model, made by yaongi lora."),
)


def opening_options(function: Command) -> Command:
    """How a model is opened to run: the command takes them as ``opening``, for ``yaongi.load``."""
    options = {
        "engine": click.option(
            "--engine", type=click.Choice(["auto", "yaongi", "llamacpp"]), default="auto",
            show_default=True,
            help=_("What runs the model; auto takes llama.cpp for a .gguf file.")),
        "context_len": click.option(
            "--context-len", type=click.IntRange(2),
            help=_("The longest sequence, prompt included; the model's own if not given.")),
        "prompt_weights": click.option(
            "--prompt-weights", type=click.Choice(["int8"]),
            help=_("Keep an int4 model's matrices in 8 bits as well: prompts are read about twice "
                   "as fast on a CPU, in nearly three times the memory.")),
        "compile": click.option(
            "--compile", is_flag=True,
            help=_("Compile the model's steps for a CPU: a text that runs alone then comes faster, "
                   "after up to minutes at the start.")),
    }  # fmt: skip

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        return function(opening={name: given.pop(name) for name in options}, **given)

    found: Command = gathered
    for option in reversed(options.values()):
        found = option(found)
    return found


def overflow_option(default: str) -> Callable[[Command], Command]:
    """What becomes of a conversation that does not fit."""
    return click.option(
        "--overflow",
        type=click.Choice(["error", "drop_oldest"]),
        default=default,
        show_default=True,
        help=_("What happens when the conversation no longer fits: an error, or the model "
               "no longer sees the oldest turns."),
    )  # fmt: skip


def sampling_options(function: Command) -> Command:
    """How the next token is chosen."""
    options = [
        click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True,
                     help=_("Longest answer, in tokens.")),
        click.option("--temperature", type=click.FloatRange(0), default=0.0, show_default=True,
                     help=_("0 always takes the most likely token.")),
        click.option("--top-k", type=click.IntRange(0), default=0, show_default=True,
                     help=_("Sample among the k most likely tokens; 0 is off.")),
        click.option("--top-p", type=click.FloatRange(0, 1), default=1.0, show_default=True,
                     help=_("Sample among tokens covering this probability.")),
        click.option("--min-p", type=click.FloatRange(0, 1), default=0.0, show_default=True,
                     help=_("Drop tokens below this share of the best one's probability.")),
        click.option("--repetition-penalty", type=click.FloatRange(0, min_open=True), default=1.0,
                     show_default=True, help=_("Above 1 discourages repeating tokens.")),
        click.option("--stop", multiple=True, help=_("Stop before this text; repeatable.")),
        click.option("--seed", type=int, default=0, show_default=True, help=_("Sampling seed.")),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def kind_name(kind: str) -> str:
    """What a kind of artifact is called, for a person."""
    return {
        "corpus": _("corpus"),
        "tokenizer": _("tokenizer"),
        "base": _("base model"),
        "sft": _("fine-tuned model"),
        "adapter": _("adapter"),
        "merged": _("merged model"),
        "dpo": _("model tuned on preferences"),
        "reward": _("reward model"),
    }.get(kind, kind)


def next_line(verb: str) -> str:
    """What to type now: ``verb`` and what follows it."""
    return _("Next: {command}").format(command=f"{program('yaongi')} {verb}")


def next_command(model: Path, *, chat: bool) -> str:
    """How to talk to a model, or to let it continue a text."""
    return next_line(f"chat {model}" if chat else f'generate {model} --prompt "..."')


def origin_lines(artifact: Artifact) -> list[str]:
    """Where what a result was made from lies: not all of it is beside the result."""
    folders = [node.path for node in artifact.manifest.parents if node.kind != "source"]
    return [_("made from: {folders}", folders=", ".join(folders))] if folders else []


def licence_lines(licences: Sequence[str]) -> list[str]:
    """Each licence, and what it asks of those who build on it."""
    return [
        line
        for licence in licences
        for line in (
            _("Licence: {name}").format(name=licence),
            *(f"  • {duty}" for duty in terms(licence)),
        )
    ]
