"""Every recipe in the folder is accepted, and names its licences."""

from pathlib import Path

import pytest

from yaongi.cli.quickstart import recipe as quickstart
from yaongi.cli.road import read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_the_recipe_is_accepted(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert recipe.pretrain.model.vocab_size >= recipe.tokenizer.vocab_size
    sources = [*recipe.data.sources, *(recipe.sft.data.sources if recipe.sft else [])]
    if path.stem != "from-folder":  # the licence of your own files is yours to state
        assert all(source.licence != "not stated" for source in sources)


def test_recipes_are_found() -> None:
    assert {p.stem for p in RECIPES} >= {"from-folder", "korean-small", "mamba2-ko"}


@pytest.mark.parametrize("minutes", [1, 10, 60])
def test_the_quickstart_divides_its_time(minutes: float) -> None:
    made = quickstart(minutes)
    assert made.sft is not None
    spent = (made.pretrain.minutes or 0) + (made.sft.train.minutes or 0)
    assert 0.6 * minutes < spent < 0.9 * minutes
