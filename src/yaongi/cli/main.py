"""The ``yaongi`` command: finds the verb, speaks the user's language, maps errors to exit codes.

Verbs live one per file and are imported only when asked for, so ``yaongi --help`` does not wait
for torch. Exit codes: 0 ok, 1 failed, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import click
from click.exceptions import Exit, NoArgsIsHelpError

from yaongi.core.config import load_env
from yaongi.core.errors import YaongiError, nearest
from yaongi.core.i18n import translate as _
from yaongi.core.i18n import translate_library

VERBS = {  # verb -> (module:attribute, one line for `yaongi --help`)
    "quickstart": ("yaongi.cli.quickstart:command", _("the whole road on the embedded corpus")),
    "run": ("yaongi.cli.run:command", _("the whole road of a recipe; resumes where it stopped")),
    "data": (
        "yaongi.cli.stages:data",
        _("build, examine and report on a corpus"),
    ),
    "tokenizer": (
        "yaongi.cli.stages:tokenizer",
        _("train, extend or compare tokenizers"),
    ),
    "pretrain": ("yaongi.cli.stages:pretrain", _("train a base model")),
    "continue": ("yaongi.cli.continue_:command", _("train a model further on other text")),
    "sft": ("yaongi.cli.stages:sft", _("teach a base model to chat")),
    "distill": ("yaongi.cli.stages:distill", _("train a student on what a teacher expects")),
    "lora": ("yaongi.cli.lora:command", _("fine-tune with a small adapter")),
    "merge": ("yaongi.cli.lora:merge", _("write an adapter into its model")),
    "dpo": ("yaongi.cli.dpo:command", _("teach a model which answers are preferred")),
    "reward": ("yaongi.cli.reward:command", _("train or measure a model that judges answers")),
    "grpo": ("yaongi.cli.grpo:command", _("let a model learn from rewards")),
    "eval": ("yaongi.cli.eval:command", _("score a model")),
    "generate": ("yaongi.cli.generate:command", _("continue a text")),
    "chat": ("yaongi.cli.chat.command:command", _("talk to a model")),
    "serve": ("yaongi.cli.serve:command", _("answer over HTTP as OpenAI does, with a chat page")),
    "import": ("yaongi.cli.import_:command", _("take in a model of transformers")),
    "export": ("yaongi.cli.export:command", _("write a model for other programs")),
    "quantize": ("yaongi.cli.quantize:command", _("write a model in 8 or 4 bits")),
    "push": ("yaongi.cli.hub:push", _("send an artifact to the Hugging Face Hub")),
    "pull": ("yaongi.cli.hub:pull", _("fetch one from there")),
    "plan": ("yaongi.cli.plan:command", _("memory, hours and cost before paying")),
    "trace": ("yaongi.cli.trace:command", _("where an artifact came from")),
    "doctor": ("yaongi.cli.doctor:command", _("what this machine can run, and why not")),
}


class Verbs(click.Group):
    """A click group that imports a verb's module when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _colon, attribute = VERBS[cmd_name][0].partition(":")
        return getattr(importlib.import_module(module), attribute)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS:
            near = nearest(args[0], VERBS)
            hint = _("Did you mean '{near}'?").format(near=near) if near else ""
            ctx.fail(_("'{verb}' is not a command. {hint}").format(verb=args[0], hint=hint).strip())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, text) for name, (_target, text) in VERBS.items()])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=_("From raw text to a Korean language model you can talk to, on one machine."),
    epilog=_("Example: yaongi quickstart --minutes 10"),
)
@click.version_option(
    package_name="yaongi", message="yaongi %(version)s", help=_("Show the version and exit.")
)
def cli() -> None:
    """Entry point of all verbs."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    load_env()
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command; returns the exit code instead of raising."""
    as_json = "--json" in argv
    translate_library("click")
    try:
        result = cli.main(args=argv, prog_name="yaongi", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except YaongiError as error:
        return _report(error.slug, str(error), error.exit_code, as_json)
    except Exit as stop:
        return stop.exit_code
    except NoArgsIsHelpError as error:  # only the name of a group
        error.show()
        return error.exit_code
    except click.ClickException as error:  # wrong options and arguments
        return _report("usage", error.format_message(), 2, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _report(
            "interrupted", _("Interrupted; run the command again to continue."), 130, as_json
        )
    except BrokenPipeError:
        return 1


def _report(slug: str, message: str, code: int, as_json: bool) -> int:
    if as_json:
        error: dict[str, Any] = {"error": {"slug": slug, "message": message, "exit_code": code}}
        click.echo(json.dumps(error, ensure_ascii=False))
    label = _("error")  # apart, as gettext's extractor does not look into f-strings
    click.echo(f"{label}[{slug}]: {message}", err=True)
    return code
