"""Settings: what a wrong recipe answers, and that a right one means what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from yaongi.core.config import (
    Config,
    Registry,
    apply_overrides,
    data_root,
    load_env,
    load_recipe,
    parse,
)
from yaongi.core.errors import ConfigError
from yaongi.core.units import ByteSize, Count, Seconds, human_bytes, human_time


class Animal(Config):
    kind: str
    legs: int = 4


class Cat(Animal):
    kind: str = "cat"
    whiskers: int = 24


class Bird(Animal):
    kind: str = "bird"
    legs: int = 2


ANIMALS = Registry("animal", Animal, {"cat": f"{__name__}:Cat", "bird": f"{__name__}:Bird"})


class Room(Config):
    pet: Annotated[Animal, ANIMALS.field()] = Cat()
    pets: tuple[Annotated[Animal, ANIMALS.field()], ...] = ()
    size_m2: float = 10.0


class House(Config):
    kitchen: Room = Room()
    n_rooms: int = 1


def problems(cls: type[Config], data: dict, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        parse(cls, data, where=where)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_defaults_and_differences() -> None:
    house = parse(House, {"kitchen": {"size_m2": 12}})
    assert (house.kitchen.size_m2, house.n_rooms) == (12.0, 1)


def test_unknown_key_at_the_top_names_the_nearest() -> None:
    assert problems(House, {"n_room": 3}) == "n_room is not a setting. Did you mean 'n_rooms'?"


def test_unknown_key_at_depth_gives_the_whole_path() -> None:
    text = problems(House, {"kitchen": {"size": 3}}, where="home")
    assert text == "home.kitchen.size is not a setting. Did you mean 'size_m2'?"


def test_unknown_key_inside_a_kind_gives_the_whole_path() -> None:
    text = problems(House, {"kitchen": {"pet": {"kind": "cat", "whisker": 3}}})
    assert text == "kitchen.pet.whisker is not a setting. Did you mean 'whiskers'?"


def test_unknown_key_inside_a_list_gives_the_index() -> None:
    text = problems(Room, {"pets": ["cat", {"kind": "bird", "leg": 3}]})
    assert text == "pets.1.leg is not a setting. Did you mean 'legs'?"


def test_unknown_key_unlike_anything_lists_what_is_known() -> None:
    assert problems(House, {"zzz": 3}) == "zzz is not a setting. Known here: kitchen, n_rooms."


def test_a_key_that_belongs_deeper_is_named_with_its_whole_path() -> None:
    text = problems(House, {"whiskers": 3})
    assert text == "whiskers is not a setting. Known here: kitchen, n_rooms."  # of one kind only
    text = problems(House, {"legs": 3}, where="home")
    assert text == "home.legs is not a setting. Did you mean 'home.kitchen.pet.legs'?"


def test_problems_are_korean_for_koreans(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(Config):
        n: Annotated[int, Field(gt=1)] = 2
        size: ByteSize = 1
        name: Literal["a", "b"] = "a"
        loud: bool = False
        of: tuple[int, ...] = ()

        @model_validator(mode="after")
        def _small(self) -> Strict:
            raise ConfigError("give a budget: steps, tokens or minutes")

    monkeypatch.setenv("YAONGI_LANG", "ko")
    wrong = {"n": 0, "size": "1X", "name": "c", "loud": 7, "of": 3}
    for line in [
        *problems(Strict, wrong).splitlines(),
        problems(Strict, {}),
        problems(Strict, {"n": "x"}),
    ]:
        message = line.partition(": ")[2]
        assert re.search("[가-힣]", message) and not re.search("must|valid|Input| or ", message)


def test_every_problem_is_reported_at_once() -> None:
    text = problems(House, {"n_rooms": "many", "kitchen": {"size_m2": "big"}})
    assert "n_rooms: " in text and "kitchen.size_m2: " in text
    assert "got 'many'" in text and "got 'big'" in text


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError):
        House().n_rooms = 2


def test_a_wrong_default_is_found_too() -> None:
    class Wrong(Config):
        n: int = "three"  # pyright: ignore[reportAssignmentType]

    assert "n: " in problems(Wrong, {})


def test_missing_setting() -> None:
    class Needs(Config):
        path: str

    assert problems(Needs, {}) == "path: this setting is required."


def test_kind_by_bare_name_by_settings_and_from_json() -> None:
    assert parse(Room, {"pet": "bird"}).pet == Bird()
    room = parse(Room, {"pet": {"kind": "cat", "whiskers": 2}})
    assert room.pet == Cat(whiskers=2)
    assert parse(Room, room.as_json()) == room, "a manifest's settings read back as they were"


def test_unknown_kind_names_the_nearest() -> None:
    text = problems(Room, {"pet": "birb"})
    assert text.startswith("pet: 'birb' is not a known animal. Did you mean 'bird'?")
    assert "my_module:MyThing" in text


def test_kind_left_out_lists_the_kinds() -> None:
    assert problems(Room, {"pet": {"legs": 3}}) == "pet: which animal? Give its kind: cat, bird."


def test_a_number_is_not_a_kind() -> None:
    assert problems(Room, {"pet": 7}).startswith("pet: ")


def test_plug_in_from_the_users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = f"from {__name__} import Animal\nclass Dog(Animal):\n    bark: str = 'wang'\n"
    (tmp_path / "my_pets.py").write_text(plugin, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    room = parse(Room, {"pet": {"kind": "my_pets:Dog", "bark": "meong"}})
    assert type(room.pet).__name__ == "Dog"
    assert room.as_json()["pet"] == {"kind": "my_pets:Dog", "legs": 4, "bark": "meong"}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no_such_module_here:Dog", "cannot be imported"),
        ("json:NoSuchThing", "cannot be imported"),
        ("json:JSONDecoder", "must be a class derived from"),
    ],
)
def test_unusable_plug_in(kind: str, message: str) -> None:
    text = problems(Room, {"pet": {"kind": kind}})
    assert kind in text and message in text


def recipe(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_yaml_1_2_words_stay_words(tmp_path: Path) -> None:
    text = "a: no\nb: on\nc: yes\nd: off\ne: true\nf: 1e-4\ng: 12:30\nh: ~\nko: 야옹이\n"
    assert load_recipe(recipe(tmp_path, text)) == {
        "a": "no", "b": "on", "c": "yes", "d": "off", "e": True,
        "f": 1e-4, "g": "12:30", "h": None, "ko": "야옹이",
    }  # fmt: skip


def test_duplicate_keys_are_refused_with_their_line(tmp_path: Path) -> None:
    path = recipe(tmp_path, "steps: 1\nlr: 2\nsteps: 3\n")
    with pytest.raises(ConfigError, match=r'line 3, column 1: .*duplicate key "steps"') as caught:
        load_recipe(path)
    assert str(path) in str(caught.value) and "http" not in str(caught.value)


def test_broken_yaml_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.yaml is not valid YAML: line 2"):
        load_recipe(recipe(tmp_path, "a: 1\n b: [\n"))


def test_recipe_must_be_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must hold settings"):
        load_recipe(recipe(tmp_path, "- a\n- b\n"))


def test_empty_recipe_changes_nothing(tmp_path: Path) -> None:
    assert load_recipe(recipe(tmp_path, "# only a comment\n"), ["a=1"]) == {"a": 1}


def test_recipe_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_recipe(recipe(tmp_path, b"a: \xff\xfe\x00"))


def test_recipe_saved_by_notepad(tmp_path: Path) -> None:
    assert load_recipe(recipe(tmp_path, b"\xef\xbb\xbfa: 1\r\n")) == {"a": 1}


def test_missing_recipe_names_the_nearest(tmp_path: Path) -> None:
    recipe(tmp_path, "a: 1")
    with pytest.raises(ConfigError, match=r"no recipe at .*recipes\.yaml.*Did you mean '.*recipe"):
        load_recipe(tmp_path / "recipes.yaml")


def test_yaml_tags_run_no_code(tmp_path: Path) -> None:
    text = f"a: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/made']\n"
    with pytest.raises(ConfigError):
        load_recipe(recipe(tmp_path, text))
    assert not (tmp_path / "made").exists()


def test_overrides_reach_any_depth_and_read_as_yaml() -> None:
    data = {"train": {"steps": 1, "optim": {"lr": 1}}, "mix": None}
    items = ["train.optim.lr=1e-3", "train.name=no", "mix.ko=0.4", "new.key=[1, 2]", "x="]
    assert apply_overrides(data, items) == {
        "train": {"steps": 1, "optim": {"lr": 1e-3}, "name": "no"},
        "mix": {"ko": 0.4},
        "new": {"key": [1, 2]},
        "x": None,
    }
    assert data["train"] == {"steps": 1, "optim": {"lr": 1}}, "the recipe itself is not changed"


BUDGETS = ("steps", "tokens", "minutes")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["train.tokens=1M"], {"tokens": "1M", "lr": 1}),
        (["train.minutes=5"], {"minutes": 5, "lr": 1}),
        (["train.tokens=null"], {"minutes": 20, "tokens": None, "lr": 1}),
        (["train.minutes=5", "train.tokens=1M"], {"minutes": 5, "tokens": "1M", "lr": 1}),
        (["tokens=1M"], {"minutes": 20, "lr": 1}),
    ],
)
def test_an_override_takes_the_place_of_its_alternatives(
    items: list[str], expected: dict[str, object]
) -> None:
    data = {"train": {"minutes": 20, "lr": 1}}
    assert apply_overrides(data, items, BUDGETS)["train"] == expected


def test_a_value_may_hold_an_equals_sign() -> None:
    assert apply_overrides({}, ["pattern=a=b"]) == {"pattern": "a=b"}


@pytest.mark.parametrize("item", ["steps", "=3", ""])
def test_malformed_override(item: str) -> None:
    with pytest.raises(ConfigError, match="write it like"):
        apply_overrides({}, [item])


@pytest.mark.parametrize("value", ["adamw", [1, 2], 3])
def test_override_below_something_without_names(value: object) -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr: 'optim' is .* not settings with names"):
        apply_overrides({"optim": value}, ["optim.lr=1"])


def test_data_root_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YAONGI_DATA", raising=False)
    assert data_root() == Path("data")
    monkeypatch.setenv("YAONGI_DATA", "/somewhere")
    assert data_root() == Path("/somewhere")
    assert data_root("here") == Path("here")


def test_env_file_gives_secrets_but_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    text = "WANDB_API_KEY=from-file\nHF_TOKEN='from file'\n# a comment\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    monkeypatch.setenv("WANDB_API_KEY", "from-environment")
    monkeypatch.setenv("HF_TOKEN", "x")  # registered for clean-up
    monkeypatch.delenv("HF_TOKEN")
    load_env(tmp_path)
    assert os.environ["WANDB_API_KEY"] == "from-environment"
    assert os.environ["HF_TOKEN"] == "from file"


def test_no_env_file_is_fine(tmp_path: Path) -> None:
    load_env(tmp_path)


class Amounts(Config):
    n: Count = 0
    size: ByteSize = 0
    time: Seconds = 0.0


@pytest.mark.parametrize(
    ("written", "meant"),
    [("15B", 15 * 10**9), ("2.5M", 2_500_000), ("1,000", 1000), ("4_096", 4096), (7, 7),
     ("1.1K", 1100), ("0.3M", 300_000), ("1t", 10**12), (1e6, 10**6)],
)  # fmt: skip
def test_counts(written: object, meant: int) -> None:
    assert parse(Amounts, {"n": written}).n == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("40MB", 40 * 10**6), ("2GiB", 2 * 2**30), ("1.5kb", 1500), ("12", 12), (9, 9), ("3 GB", 3e9)],
)
def test_sizes(written: object, meant: int) -> None:
    assert parse(Amounts, {"size": written}).size == meant


@pytest.mark.parametrize(
    ("written", "meant"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("1d", 86400), (3, 3)]
)
def test_durations(written: object, meant: float) -> None:
    assert parse(Amounts, {"time": written}).time == meant


@pytest.mark.parametrize(
    ("key", "written"), [("n", "15X"), ("n", "-3"), ("n", "many"), ("size", "3h"), ("time", "3MB")]
)
def test_wrong_amounts_show_how_to_write_one(key: str, written: str) -> None:
    assert f"{key}: '{written}' is not an amount; write it like" in problems(
        Amounts, {key: written}
    )


def test_half_a_token_is_refused() -> None:
    assert "whole number" in problems(Amounts, {"n": "1.5"})


def test_amounts_for_people() -> None:
    assert [human_bytes(n) for n in (999, 1500, 2.5e6, 3e12)] == [
        "999 B", "1.50 KB", "2.50 MB", "3.00 TB",
    ]  # fmt: skip
    assert [human_time(s) for s in (5, 65, 3725)] == ["5s", "1m05s", "1h02m"]
