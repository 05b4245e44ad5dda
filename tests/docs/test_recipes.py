"""Every recipe in the folder is accepted, and names its licences."""

from pathlib import Path

import pytest

from yaongi.cli.quickstart import recipe as quickstart
from yaongi.cli.recipe import read_recipe
from yaongi.core.config import parse
from yaongi.data.filters import DEFAULT_CHAIN, FILTERS
from yaongi.model.count import count
from yaongi.train.dryrun import dry_run
from yaongi.train.plan import PlanConfig, plan_run

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
FROM_NOTHING = [path for path in RECIPES if read_recipe(path).pretrain is not None]


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_recipe_is_accepted(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    if recipe.distill is not None:
        assert recipe.distill.teacher or recipe.pretrain
    elif recipe.data is None:
        assert recipe.model
    elif recipe.continual is None:
        assert recipe.pretraining.model.vocab_size >= recipe.tokenizer.vocab_size
    else:
        assert recipe.continual.model and recipe.continual.train.replay
    tuned = [part and part.data for part in (recipe.sft, recipe.lora, recipe.grpo)]
    sources = [source for data in (recipe.data, *tuned) if data for source in data.sources]
    if path.stem != "from-folder":  # the licence of your own files is yours to state
        assert all(source.licence != "not stated" for source in sources)


@pytest.mark.parametrize("path", FROM_NOTHING, ids=lambda p: p.stem)
def test_the_recipe_passes_its_dry_run(path: Path) -> None:
    """Built whole without memory, then a step of a narrow copy; no data is looked for."""
    recipe = read_recipe(path)
    found = dry_run(recipe.pretraining)
    assert found.params_built == count(recipe.pretraining.model).params_total
    assert 5 < found.loss < 8 and found.grad_norm > 0  # about log 512


@pytest.mark.parametrize(
    ("name", "device", "hours"),
    [
        ("h100-4b", "h100", (60, 120)),
        ("3090-64m", "rtx3090", (1.5, 2.5)),
        ("t4-hybrid", "t4", (0.5, 8)),
    ],
)
def test_the_recipe_fits_the_machine_in_its_name(
    name: str, device: str, hours: tuple[float, float]
) -> None:
    path = next(p for p in RECIPES if p.stem == name)
    plan = plan_run(read_recipe(path).pretraining, parse(PlanConfig, {"device": device}))
    assert plan.fits
    assert plan.asked.memory.peak < 0.93 * plan.device.usable, "the estimate is good to 10 %"
    assert hours[0] < plan.cost.hours < hours[1]
    if name == "3090-64m":
        assert 500 < plan.cost.krw < 700
    if name == "h100-4b":
        assert plan.cost.tokens == 15_000_000_000


def test_the_flagships_data_and_training_are_as_published() -> None:
    recipe = read_recipe(next(p for p in RECIPES if p.stem == "h100-4b"))
    assert recipe.mix == {"ko": 0.40, "en": 0.20, "code": 0.25, "math": 0.15}
    domains = [source.domain for source in recipe.data.sources]
    assert domains == ["ko"] * 4 + ["en"] * 2 + ["code"] * 2 + ["math"]
    assert all(source.name.startswith("hf:") for source in recipe.data.sources)
    assert recipe.pretraining.optimizer.kind == "teon"
    assert recipe.pretraining.schedule.kind == "wsd"
    assert recipe.pretraining.schedule.multiplier(10_000, 28_611) == 1
    assert recipe.pretraining.schedule.multiplier(28_610, 28_611) == pytest.approx(0.01)


def test_recipes_are_found() -> None:
    assert {p.stem for p in RECIPES} >= {
        "from-folder",
        "korean-small",
        "mamba2-ko",
        "h100-4b",
        "3090-64m",
        "t4-hybrid",
        "dapt-laws",
        "distill-small",
        "lora-chat",
    }


@pytest.mark.parametrize("minutes", [1, 10, 60])
def test_the_quickstart_divides_its_time(minutes: float) -> None:
    made = quickstart(minutes)
    assert made.sft is not None
    spent = (made.pretraining.minutes or 0) + (made.sft.train.minutes or 0)
    assert 0.6 * minutes < spent < 0.9 * minutes


def test_the_examples_of_the_page_on_data_are_recipes(tmp_path: Path) -> None:
    """As they stand there, without a model; the steps named in its table are all there are."""
    page = (RECIPES[0].parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "page.yaml").write_text(example, encoding="utf-8")
    recipe = read_recipe(tmp_path / "page.yaml")
    assert recipe.data is not None and [one.kind for one in recipe.data.filters] == [*DEFAULT_CHAIN]
    table = page.partition("## The steps")[2].partition("`filters: default` is")[0]
    assert [kind for kind in FILTERS.builtin if f"\n| `{kind}` |" not in table] == []


def test_the_readme_cleans_web_text_from_the_command_line() -> None:
    recipe = read_recipe(RECIPES[0].with_name("from-folder.yaml"), ["data.filters=default"])
    assert recipe.data is not None and len(recipe.data.filters) == len(DEFAULT_CHAIN)
