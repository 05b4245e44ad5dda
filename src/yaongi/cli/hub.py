"""``yaongi push`` and ``yaongi pull``: artifacts to the Hugging Face Hub and back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from yaongi.cli.console import emit
from yaongi.cli.options import json_option, licence_lines
from yaongi.core.errors import ConfigError
from yaongi.core.i18n import translate as _
from yaongi.core.units import human_bytes
from yaongi.interop.hub import Plan, Pushed, plan_push
from yaongi.interop.hub import push as push_to_hub
from yaongi.interop.hub_client import parse_repo
from yaongi.interop.hub_files import PARTS
from yaongi.interop.hub_parcel import kept_back
from yaongi.interop.hub_pull import KIND, Pulled
from yaongi.interop.hub_pull import pull as pull_from_hub


@click.command(
    help=_("Send a model, an adapter, a tokenizer, a GGUF file or a corpus to the Hugging Face Hub "
           "with a card in Korean and English; for yourself only, unless you say --public."),
    epilog=_("Example: yaongi push runs/quickstart/5m/sft me/my-model --dry-run"),
)  # fmt: skip
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("repo", metavar="OWNER/NAME")
@click.option(
    "--public",
    is_flag=True,
    help=_(
        "For everybody to see. Asks first, and refuses where a licence does not allow "
        "it or is not known."
    ),
)
@click.option("--licence", help=_("What people may use a model under, for example apache-2.0."))
@click.option(
    "--base-model", metavar="OWNER/NAME", help=_("The model it was made from, on the Hub.")
)
@click.option(
    "--made-from",
    type=click.Path(path_type=Path),
    help=_("Of a .gguf file: the artifact it was exported from."),
)
@click.option(
    "--rollouts",
    is_flag=True,
    help=_("Send along what a model was asked and said while it learnt from rewards."),
)
@click.option(
    "--dry-run",
    is_flag=True,
    help=_("Show the files, their sizes and the card, and ask nothing of the Hub."),
)
@click.option("--yes", is_flag=True, help=_("Do not ask before making something public."))
@json_option
def push(artifact: Path, repo: str, dry_run: bool, yes: bool, as_json: bool,
         **options: Any) -> None:  # fmt: skip
    """Plan, ask, send."""
    place = parse_repo(repo)
    if place.revision:
        raise ConfigError("A push goes to the newest state of a repository, without @revision.")
    if options["base_model"]:
        parse_repo(options["base_model"])
    plan = plan_push(artifact, place, **options)
    if dry_run:
        emit(_planned(plan), "\n".join(_plan_lines(plan)), as_json)
        return
    for note in plan.notes:
        click.echo(note, err=True)
    if plan.public and not yes:
        click.echo("\n".join(licence_lines([plan.licence] if plan.licence else [])), err=True)
        question = _("Everybody will see {repo}. Go on?", repo=plan.repo.name)
        click.confirm(question, abort=True, err=True)
    done = push_to_hub(plan, on_url=lambda url: click.echo(f"→ {url}", err=True))
    emit({**_planned(plan), **_done(done)}, _pushed_line(done, plan), as_json)


def _planned(plan: Plan) -> dict[str, Any]:
    return {
        "repo": plan.repo.name,
        "kind": plan.repo.kind,
        "public": plan.public,
        "licence": plan.licence,
        "files": plan.sizes,
        "kept_back": kept_back(plan.parcel),
        "notes": plan.notes,
        "card": plan.texts["README.md"].decode(),
    }


def _plan_lines(plan: Plan) -> list[str]:
    seen = _("public") if plan.public else _("private")
    told = _("Everybody would see it.") if plan.public else _("Only you would see it.")
    total = _("{n} files, {size}", n=len(plan.sizes), size=human_bytes(sum(plan.sizes.values())))
    files = [f"  {human_bytes(size):>10}  {name}" for name, size in plan.sizes.items()]
    head = f"{plan.repo.uri} ({seen}): {total}"
    return [head, *files, *plan.notes, "", plan.texts["README.md"].decode(), f"{head}. {told}"]


def _done(done: Pushed) -> dict[str, Any]:
    return {"url": done.url, "commit": done.commit, "sent": done.sent, "there": done.there}


def _pushed_line(done: Pushed, plan: Plan) -> str:
    sent = sum(plan.sizes[name] for name in done.sent)
    return _(
        "{url} at {commit}: {sent} files sent ({size}), {there} were there already",
        url=done.url,
        commit=done.commit[:12],
        sent=len(done.sent),
        size=human_bytes(sent),
        there=len(done.there),
    )


@click.command(
    help=_("Fetch a model, an adapter, a tokenizer, a GGUF file or a data set from the Hugging "
           "Face Hub. What was pushed with yaongi is the same artifact again."),
    epilog=_("Example: yaongi pull owner/name@main --out runs/name"),
)  # fmt: skip
@click.argument("repo", metavar="OWNER/NAME[@REVISION]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=_("Where the result goes; else a folder of its name here."),
)
@click.option(
    "--only", help=_("A part: {names}; or a pattern of file names.").format(names=", ".join(PARTS))
)
@click.option("--dry-run", is_flag=True, help=_("Show what there is and fetch nothing."))
@json_option
def pull(repo: str, out: Path | None, only: str | None, dry_run: bool, as_json: bool) -> None:
    """Fetch, then say what to do with it."""
    place = parse_repo(repo)
    out = out or Path(place.name.partition("/")[2])
    found = pull_from_hub(place, out, only=only, dry_run=dry_run)
    following = None if found.artifact is None else _next(found, out)
    result = {
        "out": None if dry_run else str(out),
        "repo": found.repo.name,
        "revision": found.repo.revision,
        "files": found.files,
        "left": found.left,
        "fetched": found.fetched,
        "kind": found.artifact.manifest.kind if found.artifact else None,
        "licences": found.artifact.manifest.licences if found.artifact else None,
        "next": following,
    }
    emit(result, "\n".join(_pulled_lines(found, out, following)), as_json)


def _pulled_lines(found: Pulled, out: Path, following: str | None) -> list[str]:
    total = _("{n} files, {size}", n=len(found.files), size=human_bytes(sum(found.files.values())))
    head = f"{found.repo.uri}: {total}" if found.artifact is None else f"{out}: {total}"
    lines = [head]
    if found.artifact is not None and not found.fetched:
        lines = [_("{out} holds all of {repo} already; nothing was fetched.",
                   out=out, repo=found.repo.uri)]  # fmt: skip
    if found.artifact is None:
        lines += [f"  {human_bytes(size):>10}  {name}" for name, size in found.files.items()]
    shown = list(found.left.items())
    lines += [_("left there: {name} ({reason})", name=n, reason=r) for n, r in shown[:8]]
    if len(shown) > 8:
        lines.append(_("… and {n} more", n=len(shown) - 8))
    if found.artifact is not None and found.artifact.manifest.kind == KIND:
        lines += licence_lines(found.artifact.manifest.licences)
    return [*lines, _("Next: {command}", command=following)] if following else lines


def _next(found: Pulled, out: Path) -> str | None:
    """The command that goes on from here."""
    assert found.artifact is not None
    kind, names = found.artifact.manifest.kind, list(found.files)
    if kind not in (KIND, "hf"):
        return f"yaongi trace {out}"
    if found.repo.kind == "dataset":
        return _("a recipe's source: {source}", source=_source(out.absolute(), names))
    if ggufs := [name for name in names if name.endswith(".gguf")]:
        return f"llama-server -m {out / ggufs[0]}"
    if "config.json" in names and any(name.endswith(".safetensors") for name in names):
        return f"yaongi import {out} --out {out}-imported"
    return f"yaongi trace {out}"


def _source(folder: Path, names: list[str]) -> str:
    """How a recipe reads a data set: by its splits, or where it names none, all of its files.

    Without splits, ``datasets`` would take the manifest for data too.
    """
    card = folder / "README.md"
    told = card.is_file() and "\nconfigs:" in card.read_text(encoding="utf-8", errors="replace")
    if told or any(re.search(r"(^|[\W_])(train|test|val|dev|eval)", name) for name in names):
        return f"{{kind: hf, path: 'hf:{folder}'}}"
    return f"{{kind: files, path: '{folder}'}}"
