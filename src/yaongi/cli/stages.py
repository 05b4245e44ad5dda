"""The verbs that run a recipe's road up to one stage; what comes before is made if missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from yaongi.cli import data_examples, data_quality, data_report, tokenizer_extend
from yaongi.cli.console import emit
from yaongi.cli.continue_ import imported_licences
from yaongi.cli.distilling import asked_line
from yaongi.cli.funnel import funnel
from yaongi.cli.options import (
    dry_run_option,
    json_option,
    kind_name,
    licence_lines,
    model_option,
    next_command,
    origin_lines,
    out_option,
    overrides_argument,
    recipe_argument,
)
from yaongi.cli.plan import emit_dry_run
from yaongi.cli.recipe import make_recipe, read_recipe
from yaongi.cli.road import Road, road_to
from yaongi.cli.tokenizer import report as tokenizer_report
from yaongi.core.artifact import Artifact
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes


def _summary(artifact: Artifact, as_json: bool) -> None:
    m = artifact.manifest
    size = human_bytes(sum(f.bytes for f in m.files.values()))
    result = {"kind": m.kind, "path": str(artifact.path), "counts": m.counts, "metrics": m.metrics}
    more = funnel(m.counts) if m.kind == "corpus" else []
    lines = [f"{kind_name(m.kind)}: {artifact.path} ({size})", *origin_lines(artifact), *more]
    if m.kind in ("base", "sft"):
        lines.append(next_command(artifact.path, chat=m.kind == "sft"))
    emit(result, "\n".join(lines), as_json)


class Listed(click.Group):
    """A group that lists its commands with their whole help, not cut at the end of the line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self.commands[name].help or "") for name in self.list_commands(ctx)]
        with formatter.section(_("Commands")):
            formatter.write_dl(rows)


@click.group(
    cls=Listed,
    help=_("Raw text to a corpus: build it, report on it, show examples of what was dropped, train "
           "a quality model."),
)  # fmt: skip
def data() -> None:
    """Verbs of the data station."""


@data.command(
    "build",
    help=_(
        "Read the sources of a recipe, clean them, remove duplicates, hold out validation. An "
        "interrupted build continues where it stopped."
    ),
    epilog=_("Example: yaongi data build recipes/korean-small.yaml --out runs/corpus"),
)
@recipe_argument
@overrides_argument
@out_option
@json_option
def data_build(recipe: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Make the corpus."""
    _summary(road_to("corpus", recipe, overrides, out).corpus, as_json)


@data.command(
    "ask",
    help=_(
        "Ask a teacher behind an OpenAI-compatible address the prompts of a recipe's section ask, "
        "and write its answers as a corpus of conversations. What was answered is not asked again."
    ),
    epilog=_("Example: yaongi data ask my-prompts.yaml ask.teacher.url=http://127.0.0.1:8000/v1"),
)
@recipe_argument
@overrides_argument
@out_option
@json_option
def data_ask(recipe: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Make the corpus of answers."""
    road = road_to("answers-corpus", recipe, overrides, out)
    made = road.answers
    _summary(made, as_json)
    if not as_json:
        click.echo(asked_line(road.folder("answers")))


data.add_command(data_examples.command)
data.add_command(data_quality.command, "quality")
data.add_command(data_report.command)


@click.group(cls=Listed, help=_("Train, extend and compare tokenizers."))
def tokenizer() -> None:
    """Verbs of the text station."""


tokenizer.add_command(tokenizer_report)


@tokenizer.command(
    "train",
    help=_("Train a byte-level BPE tokenizer on a recipe's corpus, or on files."),
    epilog=_("Example: yaongi tokenizer train --data texts/ --vocab-size 32768 --out runs/tok"),
)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@overrides_argument
@click.option("--data", "paths", multiple=True, type=click.Path(path_type=Path),
              help=_("Folder or file to learn from; repeatable. Instead of a recipe."))  # fmt: skip
@click.option("--vocab-size", type=int, default=32_768, show_default=True,
              help=_("How many tokens the vocabulary has."))  # fmt: skip
@out_option
@json_option
def tokenizer_train(
    recipe: Path | None,
    overrides: tuple[str, ...],
    paths: tuple[Path, ...],
    vocab_size: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make the tokenizer."""
    if recipe is not None and not paths:
        road = road_to("tokenizer", recipe, overrides, out)
    elif paths and recipe is None and out is not None:
        road = _files_road(paths, vocab_size, out)
    else:
        raise ConfigError("Give a recipe, or --data PATH with --out DIR.")
    _summary(road.tokenizer, as_json)


tokenizer.add_command(tokenizer_extend.command)


def _files_road(paths: tuple[Path, ...], vocab_size: int, out: Path) -> Road:
    """A road of one domain over files; its corpus goes beside the tokenizer."""
    sources: list[dict[str, Any]] = [
        {"path": str(path.resolve()), "domain": "text"} for path in paths
    ]
    settings = {
        "name": "tokenizer",
        "data": {"sources": sources},
        "tokenizer": {"vocab_size": vocab_size},
    }
    at = {"tokenizer": out, "corpus": out.with_name(f"{out.name}-corpus")}
    return Road(make_recipe(settings), at=at)


@click.command(
    help=_("Pretrain a recipe's model, from its corpus on."),
    epilog=_("Example: yaongi pretrain recipes/korean-small.yaml pretrain.model=26m-mamba"),
)
@recipe_argument
@overrides_argument
@out_option
@dry_run_option
@json_option
def pretrain(
    recipe: Path, overrides: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Make the base model."""
    if dry_run:
        emit_dry_run(read_recipe(recipe, overrides), as_json)
        return
    _summary(road_to("base", recipe, overrides, out).base, as_json)


@click.command(
    help=_("Fine-tune on a recipe's conversations: its own base model, or the one given, which may "
           "be fine-tuned or imported."),
    epilog=_("Example: yaongi sft recipes/korean-small.yaml --model runs/korean-small/26m/base"),
)  # fmt: skip
@recipe_argument
@overrides_argument
@model_option
@out_option
@json_option
def sft(
    recipe: Path,
    overrides: tuple[str, ...],
    model: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make the chat model."""
    checked = read_recipe(recipe, overrides)
    last = checked.sft.stages()[-1][0] if checked.sft else ""
    road = Road(checked, at={f"sft{last}": out} if out else None)
    _summary(road.begin("base", model).sft, as_json)


@click.command(
    help=_(
        "Train a student on a recipe's text, or its conversations, and on what a teacher with the "
        "same tokenizer expects. The teacher is the recipe's own model, or the one given with "
        "--teacher."
    ),
    epilog=_(
        "Example: yaongi distill recipes/distill-small.yaml --teacher runs/korean-small/26m/base"
    ),
)
@recipe_argument
@overrides_argument
@click.option("--teacher", type=click.Path(path_type=Path), help=_("The model that teaches."))
@click.option("--model", type=click.Path(path_type=Path),
              help=_("A student that has learnt already."))  # fmt: skip
@out_option
@json_option
def distill(
    recipe: Path,
    overrides: tuple[str, ...],
    teacher: Path | None,
    model: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make the student."""
    stated = read_recipe(recipe, overrides)
    stated.stated("distill", stated.distill)  # before --teacher makes a section of itself alone
    given = {"teacher": teacher, "student": model}
    named = [f"distill.{k}={json.dumps(str(v))}" for k, v in given.items() if v is not None]
    if model is not None:
        named.append("distill.train.model=null")
    road = road_to("distill", recipe, (*overrides, *named), out)
    _summary(road.distill, as_json)
    if not as_json:
        for line in licence_lines(imported_licences(road.taught.teacher)):
            click.echo(line)
