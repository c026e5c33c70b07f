"""Where a value comes from, what a typo gets for an answer, and config.yaml that reads back as it was written."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pcsr_fast.errors import ConfigError
from pcsr_fast.methods import METHODS
from pcsr_fast.methods.profiles import PROFILES
from pcsr_fast.resources import config_names, config_path
from pcsr_fast.training.config import Config, as_dict, check_config, value_of
from pcsr_fast.training.identity import FREE_KEYS, differences
from pcsr_fast.training.parse import keys_of, parse_config, read_yaml

KEY = "head.lambda_en"  # One that the profile pcsr_official sets.
DEFAULT, PROFILE, FILE, LINE = 1.0, 10.0, 3.0, 4.0


def leaves(kind: type, prefix: str = "") -> dict[str, Any]:
    """Type of every single value under its dotted key."""
    found: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        found |= leaves(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else {prefix + name: hint}
    return found


def written(folder: Path, text: str) -> str:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("line", [False, True])
@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("profile", ["none", "in the file", "on the line"])
def test_precedence(profile: str, file: bool, line: bool, tmp_path: Path) -> None:
    """Defaults, then the profile, then the file, then the command line."""
    text = "profile: pcsr_official\n" if profile == "in the file" else "noise: {ratio: 0.1}\n"
    words = ["--config", written(tmp_path, text + (f"head: {{lambda_en: {FILE}}}\n" if file else ""))]
    words += ["--profile", "pcsr_official"] if profile == "on the line" else []
    words += [f"--{KEY}={LINE}"] if line else []
    expected = LINE if line else FILE if file else DEFAULT if profile == "none" else PROFILE
    assert value_of(parse_config(words)[0], KEY) == expected


def test_line_wins_over_the_file_for_the_profile_itself_and_the_last_word_wins(tmp_path: Path) -> None:
    path = written(tmp_path, "profile: pcsr_official")
    assert value_of(parse_config(["--config", path, "--profile", "plain"])[0], KEY) == DEFAULT
    config, _ = parse_config(["--profile", "plain", "--profile=pcsr_official", "--train.lr", "1", "--train.lr", "2"])
    assert (config.profile, value_of(config, KEY), config.train.lr) == ("pcsr_official", PROFILE, 2)


@pytest.mark.parametrize(("method", "profile"), [(name, name if name in PROFILES else "plain") for name in METHODS])
def test_the_profile_follows_the_method(method: str, profile: str, tmp_path: Path) -> None:
    for words in (["--method", "pcsr", "--method", method], ["--config", written(tmp_path, f"method: {method}")]):
        config, _ = parse_config(words)
        assert config.profile == profile
        for key, value in PROFILES[profile].items():
            assert value_of(config, key) == value


def test_profiles_name_known_keys() -> None:
    for profile in PROFILES.values():
        assert set(profile) <= set(leaves(Config))


def test_keys_are_those_of_the_dataclasses() -> None:
    groups = {key.rpartition(".")[0] for key in leaves(Config)} - {""}
    assert set(keys_of(Config)) == {*leaves(Config), *groups, "apo"}


def test_help_shows_every_key_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_config(["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert not [key for key in leaves(Config) if f"--{key} " not in text]
    assert "learning rate of Adam" in text


@pytest.mark.parametrize("name", config_names())
def test_packaged_configurations(name: str) -> None:
    assert parse_config(["--config", name])[0] == parse_config(["--config", str(config_path(name))])[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train.epcohs", "train.epochs"),
        ("epochs", "train.epochs"),
        ("Train.lr", "train.lr"),
        ("noise.ration", "noise.ratio"),
        ("nosie.ratio", "noise.ratio"),
        ("ratio", "noise.ratio"),
        ("apo.ambigous.q", "apo.ambiguous.q"),
        ("model.embed-dim", "model.embed_dim"),
        ("train.learning_rate", None),
        ("zzz", None),
    ],
)
def test_typos_get_the_right_key(typed: str, meant: str | None, tmp_path: Path) -> None:
    nested: Any = 1
    for part in reversed(typed.split(".")):
        nested = {part: nested}
    group = typed.split(".")[0]
    for words in ([f"--{typed}", "1"], [f"--{typed}=1"], ["--config", written(tmp_path, yaml.safe_dump(nested))]):
        with pytest.raises(ConfigError) as caught:
            parse_config(words)
        message = str(caught.value)
        if meant is not None:
            # In a file it may be the group that is mistyped.
            assert meant in message or (words[0] == "--config" and group not in keys_of(Config))
            assert "did you mean" in message
        assert typed in message or group in message
        assert "unknown key" in message


def test_keys_are_never_guessed_from_their_beginning() -> None:
    with pytest.raises(ConfigError, match=r"unknown key train.epoch; did you mean train.epochs"):
        parse_config(["--train.epoch", "3"])


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("1.0e-05", 1e-5), ("2", 2.0), ("'0.5'", 0.5), (".5", 0.5)]
)
def test_numbers_as_people_write_them(text: str, value: float, tmp_path: Path) -> None:
    assert parse_config(["--config", written(tmp_path, f"train: {{lr: {text}}}")])[0].train.lr == value


def test_strings_stay_strings(tmp_path: Path) -> None:
    for name in ("1e3", "[1, 2]", "true", "a: b", "null", "été", "--output", "x\ny"):
        assert parse_config(["--config", written(tmp_path, yaml.safe_dump({"output": name}))])[0].output == name


def test_read_yaml_merges_anchors(tmp_path: Path) -> None:
    text = "apo:\n  refinable: &start {start_epoch: 3}\n  ambiguous:\n    <<: *start\n    q: 0.5\n"
    values = read_yaml(Path(written(tmp_path, text)))
    assert values["apo"]["ambiguous"] == {"start_epoch": 3, "q": 0.5}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a configuration type that are likely to be in range."""
    origin = typing.get_origin(hint)
    if origin is Literal:
        return st.sampled_from(typing.get_args(hint))
    if origin in (types.UnionType, typing.Union):
        return st.one_of([values_of(one) for one in typing.get_args(hint)])
    simple = {
        bool: st.booleans(),
        int: st.integers(2, 60),
        float: st.floats(0, 1, exclude_min=True),
        str: st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), min_size=1),
        type(None): st.none(),
    }
    return simple[hint]


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    """Configurations with a few values drawn."""
    config = Config(profile="plain")
    for key in draw(st.lists(st.sampled_from(sorted(leaves(Config))), unique=True, max_size=12)):
        if key not in ("profile", "train.num_nets"):
            group, _, name = key.rpartition(".")
            # A word like "null" in place of a path cannot be told from no path on a command line.
            value = draw(
                values_of(leaves(Config)[key]).filter(lambda one: str(one).strip().lower() not in ("null", "~"))
            )
            setattr(value_of(config, group) if group else config, name, value)
    return config


@settings(max_examples=12)
@given(config=configurations())
def test_config_yaml_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, config: Config) -> None:
    try:
        check_config(config)
    except ConfigError:
        return
    text = yaml.safe_dump(as_dict(config), sort_keys=False)
    path = written(tmp_path_factory.getbasetemp(), text)
    assert parse_config(["--config", path])[0] == config


@settings(max_examples=20)
@given(config=configurations(), other=configurations())
def test_differences(config: Config, other: Config) -> None:
    assert list(differences(as_dict(config), as_dict(config))) == []
    unlike = {key for key in leaves(Config) if value_of(config, key) != value_of(other, key)} - set(FREE_KEYS)
    found = list(differences(as_dict(config), as_dict(other)))
    assert {key for key, _, _ in found} == unlike
    assert all((mine, its) == (value_of(config, key), value_of(other, key)) for key, mine, its in found)


def test_differences_with_a_checkpoint_of_another_version() -> None:
    assert list(differences({"a": {"b": 1}}, {"a": {}})) == [("a.b", 1, None)]
    assert list(differences({}, {"a": {"b": 1}})) == [("a", None, {"b": 1})]


# The data layer checks its own keys.
NUMBERS = sorted(key for key, hint in leaves(Config).items() if hint in (int, float) and not key.startswith("data."))


@pytest.mark.parametrize("key", NUMBERS)
def test_every_number_has_a_range(key: str) -> None:
    for value in (math.nan, math.inf, -math.inf, -5):
        config = Config()
        group, _, name = key.rpartition(".")
        setattr(value_of(config, group), name, value)
        with pytest.raises(ConfigError, match=rf"{key}: got .*, expected"):
            check_config(config)
