from __future__ import annotations

from pathlib import Path

import pytest

from covidnet_lite.errors import DatasetError
from training.fit.recipe import read_recipe

RECIPES = Path(__file__).resolve().parents[3] / "training/recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_that_comes_along_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert len(recipe.labels) >= 2


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('backbone = "MobileNet"\nlabels = ["a", "b"]\nlearning_rat = 1.0\n')
    with pytest.raises(DatasetError, match="learning_rat.*learning_rate"):
        read_recipe(path)
    path.write_text('backbone = "MobileNet"\nlabels = ["a", "b"]\n[augment]\nblur = 1.0\n')
    with pytest.raises(DatasetError, match=r"augment\.blur: no such key; there are: flip"):
        read_recipe(path)
    path.write_text('backbone = "MobileNet"\nlabels = ["a", "b"]\n[sources.one]\nhospitl = "x"\n')
    with pytest.raises(DatasetError, match=r"r\.toml: sources\.one\.hospitl: no such key; did you mean hospital\?"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('epochs = "24"', "epochs: '24' must be a valid integer"),
        ("epochs = 24.5", "epochs: 24.5 must be a valid integer"),
        ("lungs = 1", "lungs: 1 must be a valid boolean"),
        ('labels = "ab"', "labels: 'ab' must be a valid array"),
        ("[augment]\nflip = true", r"augment\.flip: True must be a valid number"),
        ('[sources.one]\nbatch = {normal = "12"}', r"sources\.one\.batch\.normal: '12' must be a valid integer"),
        ("quantisation_aware = 5", r"must be a table, \[quantisation_aware\]"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    given = {"backbone": 'backbone = "MobileNet"', "labels": 'labels = ["a", "b"]', line.split(" ")[0]: line}
    path.write_text("\n".join(given.values()))
    with pytest.raises(DatasetError, match=rf"r\.toml: .*{message}"):
        read_recipe(path)


def test_a_missing_key_a_missing_file_and_broken_toml_are_data_set_errors(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('labels = ["a", "b"]\n')
    with pytest.raises(DatasetError, match="backbone"):
        read_recipe(path)
    path.write_text("labels = [")
    with pytest.raises(DatasetError, match="r.toml"):
        read_recipe(path)
    with pytest.raises(DatasetError, match="no such recipe"):
        read_recipe(tmp_path / "none.toml")
