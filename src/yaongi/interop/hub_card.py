"""The page of a repository, in Korean and English, from what the manifest and its ancestry say.

Metadata and their checks are huggingface_hub's card classes; the sentences are ours. Whatever a
manifest quotes is escaped, so that a file name cannot become a link or a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yaongi.core.i18n import speaking
from yaongi.core.i18n import translate as _
from yaongi.core.licences import UNSTATED, terms
from yaongi.interop import hub_quantized
from yaongi.interop.hub_client import library
from yaongi.interop.hub_licence import Origin, hub_names
from yaongi.interop.hub_markdown import escape, table
from yaongi.interop.hub_parcel import Parcel, What
from yaongi.interop.hub_use import how_to_run

TITLES = {"ko": "한국어", "en": "English"}
METRICS = {"bits per byte": "bits_per_byte", "exact match": "exact_match"}


@dataclass(frozen=True)
class About:
    """Everything a card tells.

    Attributes:
        repo: ``owner/name``.
        licence: what people may use it under; None where nobody said. A data set keeps those of
            its sources.
        base_model: the Hub's name of the model it was made from.
        is_quantized_base: whether a quantized model is nothing but that one in few bits.
        scores: rows of a ``report.json``.
    """

    repo: str
    parcel: Parcel
    origins: Sequence[Origin]
    licence: str | None = None
    base_model: str | None = None
    is_quantized_base: bool = False
    scores: Sequence[Mapping[str, Any]] = ()

    def of(self, role: str) -> list[Origin]:
        """The origins of one role, those that read the same once."""
        found = [origin for origin in self.origins if origin.role == role]
        return list({(o.name, o.licences, o.uri): o for o in found}.values())


def card(about: About) -> str:
    """The whole ``README.md``.

    Raises:
        CapabilityError: ``huggingface_hub`` is missing.
    """
    hub = library()
    is_data = about.parcel.what is What.DATA
    data = _data_metadata(about) if is_data else _model_metadata(about)
    kind = hub.DatasetCard if is_data else hub.ModelCard
    parts = [f"# {about.repo.partition('/')[2]}", *_bodies(about), _data(about)]
    body = "\n\n".join(filter(None, parts))
    made = kind.from_template(data, template_str=_TEMPLATE, body=body)
    return str(made).rstrip() + "\n"


_TEMPLATE = "---\n{{ card_data }}\n---\n\n{{ body }}\n"


def _model_metadata(about: About) -> Any:
    what, hub = about.parcel.what, library()
    library_name = {What.ADAPTER: "yaongi", What.GGUF: "llama.cpp"}.get(what, what.value)
    tags = ["yaongi", "korean", *{What.GGUF: ["gguf"], What.ADAPTER: ["lora"]}.get(what, [])]
    tags += hub_quantized.tags(about.parcel)
    return hub.ModelCardData(
        language=["ko", "en"],
        license=about.licence,
        datasets=[o.hub_id for o in about.of("data") if o.hub_id] or None,
        base_model=about.base_model,
        base_model_relation=(
            "quantized" if about.is_quantized_base and hub_quantized.bits(about.parcel) else None
        ),
        library_name=library_name,
        pipeline_tag=None if what is What.TOKENIZER else _pipeline(about.parcel),
        tags=tags,
        eval_results=list(map(_result, about.scores)) or None,
        model_name=about.repo.partition("/")[2] if about.scores else None,
    )


def _pipeline(parcel: Parcel) -> str:
    return "text-classification" if parcel.artifact.manifest.kind == "reward" else "text-generation"


def _result(row: Mapping[str, Any]) -> Any:
    return library().EvalResult(
        task_type="text-generation",
        dataset_type=row["name"],
        dataset_name=row["name"],
        metric_type=METRICS.get(row["unit"], row["unit"]),
        metric_value=round(row["value"], 4),
    )


def _data_metadata(about: About) -> Any:
    names = list(about.parcel.files)
    splits = [
        {"split": split, "path": f"{folder}/*.jsonl.zst"}
        for split, folder in (("train", "train"), ("validation", "val"))
        if any(name.startswith(f"{folder}/") for name in names)
    ]
    licences = hub_names([x for o in about.origins for x in o.licences or [UNSTATED]])
    return library().DatasetCardData(
        language=["ko", "en"],
        license=licences[0] if len(licences) == 1 else licences,
        source_datasets=[o.hub_id for o in about.of("data") if o.hub_id] or None,
        task_categories=["text-generation"],
        tags=["yaongi", "korean"],
        configs=[{"config_name": "default", "data_files": splits}] if splits else None,
    )


def _bodies(about: About) -> Iterator[str]:
    for lang, title in TITLES.items():
        with speaking(lang):
            cost = hub_quantized.cost(about.parcel)
            sections = [
                _what(about),
                _run(about),
                _base(about),
                cost,
                _results(about),
                _made(about),
            ]
            yield "\n\n".join([f"## {title}", *filter(None, sections)])


def _what(about: About) -> str:
    parcel = about.parcel
    sentence = {
        What.MODEL: _("A Korean language model in the format of yaongi."),
        What.HF: _("A Korean language model in the format of transformers."),
        What.GGUF: _("A Korean language model as GGUF, for llama.cpp."),
        What.ADAPTER: _("An adapter (LoRA) in the format of yaongi: a small change of a model."),
        What.PEFT: _("An adapter (LoRA) in the format of peft: a small change of a model."),
        What.TOKENIZER: _("A tokenizer for Korean and English text."),
        What.DATA: _("A text corpus, cleaned and split by yaongi."),
    }[parcel.what]
    if bits := hub_quantized.bits(parcel):
        sentence = _("A Korean language model in {bits} bits, in the format of yaongi.", bits=bits)
    facts = dict(_facts(about))
    return "\n".join([sentence, "", *(f"- {name}: {value}" for name, value in facts.items())])


def _facts(about: About) -> Iterator[tuple[str, str]]:
    parcel = about.parcel
    m = parcel.artifact.manifest
    if parcel.parameters:
        yield _("parameters"), f"{parcel.parameters:,}"
    for name, value in hub_quantized.facts(parcel):
        yield name, escape(value)
    if pattern := parcel.settings.get("pattern"):
        yield _("layers"), f"`{pattern}`"
    if model_type := parcel.settings.get("model_type"):
        yield _("architecture"), f"`{model_type}`"
    if length := m.config.get("seq_len"):
        yield _("context"), _("{n} tokens", n=f"{length:,}")
    if isinstance(documents := m.counts.get("documents"), int):
        yield _("documents"), f"{documents:,}"
    yield _("licence"), _licence(about)


def _licence(about: About) -> str:
    if about.parcel.what is What.DATA:
        return _("each source keeps its own; see the table")
    return escape(about.licence) if about.licence else _("not stated; ask the owner before use")


def _run(about: About) -> str:
    title = _("How to run")
    return f"### {title}\n\n{how_to_run(about.repo, about.parcel, about.base_model)}"


def _data(about: About) -> str:
    """The table of sources, once for both languages: their names and licences are in neither."""
    sources = [*about.of("data"), *about.of("tokenizer")]
    if not sources and about.of("model"):
        return ""
    is_data = about.parcel.what is What.DATA
    title = _both(lambda: _("Sources and licences") if is_data else _("Training data"))
    if not sources:
        return "\n\n".join(
            [f"## {title}", _both(lambda: _("The manifest names no training data: ask the owner."))]
        )
    head = [_both(lambda: _("source")), _both(lambda: _("licence"))]
    rows = [" | ".join(head), "--- | ---", *map(_row, sources)]
    return "\n\n".join([f"## {title}", "\n".join(f"| {row} |" for row in rows)])


def _both(say: Callable[[], str]) -> str:
    found: list[str] = []
    for lang in TITLES:
        with speaking(lang):
            found.append(say())
    return " · ".join(found)


def _row(origin: Origin) -> str:
    stated = "; ".join(origin.licences) or UNSTATED
    return f"{escape(origin.uri or origin.name)} | {escape(stated)}"


def _base(about: About) -> str:
    """The models it was made from, and what their licences ask of everybody who has this one."""
    models = about.of("model")
    if not models and not about.base_model:
        return ""
    title = _("Base model")
    lines = [f"### {title}", ""]
    if about.base_model:
        lines.append(f"- [{about.base_model}](https://hf.co/{about.base_model})")
    for origin in models:
        lines.append(f"- {escape(origin.uri or origin.name)}: "
                     f"{escape('; '.join(origin.licences) or UNSTATED)}")  # fmt: skip
        duties = [duty for name in origin.licences or (UNSTATED,) for duty in terms(name)]
        lines += [f"  - {duty}" for duty in duties]
    return "\n".join(lines)


def _results(about: About) -> str:
    if not about.scores:
        return ""
    head = [_("task"), _("score"), _("unit"), _("95 % interval"), _("baseline"), _("chance")]
    rows = table(head, list(map(_score, about.scores)))
    notes = [_("Measured by yaongi eval.")]
    if about.parcel.what is What.GGUF:
        notes.append(_("Measured before the conversion; quantized weights score a little worse."))
    title = _("Results")
    return "\n\n".join([f"### {title}", rows, " ".join(notes)])


def _score(row: Mapping[str, Any]) -> list[str]:
    units = {"bits per byte": _("bits per byte"), "exact match": _("exact match")}

    def show(value: float) -> str:
        return f"{value:.3f}"

    baseline = "–"
    if row["baseline"] is not None:
        baseline = f"{show(row['baseline'])} ({escape(row['baseline_name'] or '')})"
    interval = f"{show(row['low'])} – {show(row['high'])}"
    unit = str(units.get(row["unit"], row["unit"]))
    return [escape(row["name"]), show(row["value"]), unit, interval, baseline, show(row["chance"])]


def _made(about: About) -> str:
    m = about.parcel.artifact.manifest
    commit = f", git {m.git_commit[:12]}" if m.git_commit else ""
    title = _("How it was made")
    return "\n\n".join(
        [
            f"### {title}",
            _(
                "With yaongi {version}{commit}: settings, seed, versions, the hash of every file "
                "and the whole ancestry are in `manifest.json`; `yaongi trace` prints it. The "
                "artifact is `{hash}`.",
                version=m.versions.get("yaongi", "?"),
                commit=commit,
                hash=about.parcel.artifact.hash[:12],
            ),
        ]
    )
