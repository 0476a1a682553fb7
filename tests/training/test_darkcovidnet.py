from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from tflites import Net

from convert.options import Options
from covidnet_lite import files
from covidnet_lite.cases import Case, read_cases
from covidnet_lite.errors import DatasetError, MissingExtraError
from covidnet_lite.fit import InputSpec
from covidnet_lite.manifest import Manifest, seal
from training import darkcovidnet, finetune
from training.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"normal": 50, "pneumonia": 120, "covid": 200}  # how bright films of a label are
SIDE = 8
NETWORKS = 2 * 2 * darkcovidnet.FOLDS

RECIPE = """
backbone = "EfficientNetLite0"
weights = "none"
side = 32
blocks = 3
labels = ["covid", "normal", "pneumonia"]
epochs = 1
batch_size = 8
warmup_epochs = 0
decode_side = 32
[quantisation_aware]
epochs = 0
"""


class Trained:
    """In the place of training and conversion: networks that tell labels by how bright a film is.

    Attributes:
        runs: name and ``fresh`` of each training.
        seen: name -> what it was trained on.
        options: of each conversion.
        correction: of the networks made.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[str, bool]] = []
        self.seen: dict[str, list[Case]] = {}
        self.options: list[Options] = []
        self.correction: dict[str, float] = {}

    def run(
        self, data: Path, recipe: Recipe, recipe_path: Path, out: Path, fresh: bool = False, verbose: int = 1
    ) -> None:
        print("train: some images")
        cases, folder = finetune.deal(data, recipe), out / recipe.name
        assert fresh or not folder.exists() or finetune.begun(out, cases, recipe), "would be refused"
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        made_from = finetune.fingerprint(cases, recipe)
        files.write_all(
            {folder / f"{recipe.name}.made_from": made_from, folder / f"{recipe.name}.keras": " ".join(recipe.labels)}
        )
        self.runs.append((recipe.name, fresh))
        self.seen[recipe.name] = cases

    def convert(self, options: Options, say: Any) -> None:
        labels = tuple(options.network.read_text().split())
        correction = tuple(self.correction.get(label, 0.0) for label in labels)
        manifest = Manifest("made up", labels, InputSpec(SIDE, SIDE, 1, (0.0,), (255.0,)), correction=correction)
        self.options.append(options)
        agreement = json.dumps({"top-1 agreement": round(1 - len(self.options) / 100, 2)})
        figures = options.stem.with_name(options.stem.name + ".figures.json")
        files.write_all(
            {options.out: seal(nearest(labels), manifest), **({figures: agreement} if options.record else {})}
        )


def nearest(labels: tuple[str, ...]) -> bytes:
    """A network that names the label whose level is nearest to a picture's mean."""
    net = Net()
    image = net.tensor(1, SIDE, SIDE, 1, kind="FLOAT32", scales=0)
    answer = net.tensor(1, len(labels), kind="FLOAT32", scales=0)
    level = np.array([LEVELS[label] / 255 for label in labels], np.float32)
    weights = np.repeat(40 * level[:, None] / SIDE**2, SIDE**2, axis=1).astype(np.float32)
    constants = [net.constant(values, scales=0) for values in (weights, -20 * level**2)]
    net.op("FULLY_CONNECTED", [image, *constants], [answer])
    return net.bytes([image], [answer])


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    fake = Trained()
    monkeypatch.setattr(finetune, "run", fake.run)
    monkeypatch.setattr(darkcovidnet, "convert", fake.convert)
    monkeypatch.setattr(keras.backend, "clear_session", lambda: None)  # collects garbage for half a second
    return fake


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Of each label 12 patients with two films each, as bright as their label; one film of another collection."""
    rng = np.random.default_rng(0)
    rows = []
    for label, level in LEVELS.items():
        for i in range(24):
            name = f"{label}{i}.png"
            Image.fromarray((level + rng.integers(-9, 9, (64, 64))).astype(np.uint8)).save(tmp_path / name)
            sizes = {"source_bytes": level * 1000 + i, "width0": 1024, "height0": 1024}
            pair = f"m{i}" if label != "covid" and i < 12 else ""
            source = darkcovidnet.SOURCES[label]
            rows.append(
                {
                    "file": name,
                    "label": label,
                    "patient_id": f"{label}{i // 2}",
                    "source": source,
                    "matched_pair": pair,
                    **sizes,
                }
            )
    rows.append({**rows[0], "source": "elsewhere"})
    return write(tmp_path / "manifest.csv", rows)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


def without(manifest: Path, column: str) -> Path:
    with manifest.open() as file:
        rows = [{k: v for k, v in row.items() if k != column} for row in csv.DictReader(file)]
    return write(manifest, rows)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


def start(manifest: Path, recipe: Path) -> int:
    return darkcovidnet.main(["--data", str(manifest), "--recipe", str(recipe), "--out", str(manifest.parent / "runs")])


def results(manifest: Path, name: str = "tiny") -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((manifest.parent / f"runs/{name}.json").read_text(), parse_constant=refuse)


def run_one(manifest: Path, recipe: Path, classes: int = 2, apart: bool = True) -> dict[str, Any]:
    cases = darkcovidnet.of_the_protocol(read_cases(manifest))
    return darkcovidnet.run(cases, read_recipe(recipe), recipe, manifest.parent / "runs", classes, apart)


def test_twenty_networks_are_told_of_and_the_progress_too(
    manifest: Path, recipe: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(manifest, recipe) == 0
    printed = capsys.readouterr()
    assert printed.out == (manifest.parent / "runs/tiny.md").read_text()
    progress = [line for line in printed.err.splitlines() if "fold" in line]
    assert len(progress) == NETWORKS
    assert progress[1] == "3 classes by images, fold 2 of 5: accuracy 100.0%, so far 100.0%"
    told = results(manifest)
    assert [(r["classes"], r["patients_apart"], r["images"]) for r in told["runs"]] == [
        (3, False, 72),
        (3, True, 72),
        (2, False, 48),
        (2, True, 48),
    ]
    assert all(r["accuracy"] == 1 and r["interval"][0] > 0.9 for r in told["runs"])
    assert told["by_file_sizes"] == {"3": 1, "2": 1}
    assert told["recipe"] == "tiny"


@pytest.mark.parametrize("apart", [False, True])
def test_a_fold_s_network_sees_nothing_of_what_it_is_judged_on(
    manifest: Path, recipe: Path, trained: Trained, apart: bool
) -> None:
    run_one(manifest, recipe, 3, apart)
    cases = darkcovidnet.of_the_protocol(read_cases(manifest))
    splits = darkcovidnet.divisions(cases, apart)
    assert len(trained.seen) == 5
    for k, seen in enumerate(trained.seen.values()):
        handed = {c.path.name: c.split for c in seen}
        assert handed == {c.path.name: s for c, s in zip(cases, splits[k]) if s != "test"}


@pytest.mark.parametrize("apart", [False, True])
def test_a_fifth_is_judged_and_a_fifth_of_the_rest_validates(manifest: Path, apart: bool) -> None:
    cases = darkcovidnet.of_the_protocol(read_cases(manifest))
    splits = darkcovidnet.divisions(cases, apart)
    assert ((splits == "test").sum(axis=0) == 1).all()
    labels, patients = np.array([c.label for c in cases]), np.array([c.patient for c in cases])
    for of_fold in splits:
        for name, share in {"train": 0.64, "val": 0.16, "test": 0.2}.items():
            assert (of_fold == name).mean() == pytest.approx(share, abs=0.05)
            assert set(labels[of_fold == name]) == set(LEVELS)
        shared = [p for p in patients if len(set(of_fold[patients == p])) > 1]
        assert bool(shared) != apart


def test_images_of_unknown_patients_are_a_patient_each(manifest: Path) -> None:
    cases = [replace(c, patient="") for c in darkcovidnet.of_the_protocol(read_cases(manifest))]
    counts = np.bincount(darkcovidnet.folds(cases, apart=True))
    assert counts.min() >= 13
    splits = np.array([["train", "test"] * (len(cases) // 2)])
    assert darkcovidnet.trained_on(cases, splits) == 0


def test_a_patient_who_only_validates_was_not_trained_on() -> None:
    cases = [Case(Path(f"{i}.png"), patient=p) for i, p in enumerate("aabbcc")]
    splits = np.array([["train", "test", "val", "test", "test", "test"]])
    assert darkcovidnet.trained_on(cases, splits) == 0.25


def test_what_is_there_is_used_where_it_was_made_from_the_same(manifest: Path, recipe: Path, trained: Trained) -> None:
    first = run_one(manifest, recipe)
    again = run_one(manifest, recipe)
    assert again == first
    assert trained.runs == [(f"tiny.2.patients.{k}", True) for k in range(5)]


def test_other_data_are_not_judged_by_networks_that_saw_them(
    manifest: Path, recipe: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    run_one(manifest, recipe)
    before = dict(trained.seen)
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    write(manifest, rows[1:])
    run_one(manifest, recipe)
    assert len(trained.runs) == 10
    assert all(fresh for _, fresh in trained.runs[5:])
    assert all(trained.seen[name] != before[name] for name in before)
    assert "was made from other data or another recipe" in capsys.readouterr().err


def test_another_recipe_is_trained_under_its_own_name(manifest: Path, recipe: Path, trained: Trained) -> None:
    run_one(manifest, recipe)
    other = recipe.with_name("other.toml")
    other.write_text(RECIPE)
    run_one(manifest, other)
    assert {name.split(".")[0] for name, _ in trained.runs} == {"tiny", "other"}
    recipe.write_text(RECIPE.replace("epochs = 1\nbatch", "epochs = 2\nbatch"))
    run_one(manifest, recipe)
    assert [name.split(".")[0] for name, _ in trained.runs] == ["tiny"] * 5 + ["other"] * 5 + ["tiny"] * 5


def test_a_run_that_was_stopped_goes_on_with_the_fold_it_was_in(
    manifest: Path, recipe: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(options: Options, say: Any) -> None:
        if len(trained.options) == 2:
            raise KeyboardInterrupt
        trained.convert(options, say)

    monkeypatch.setattr(darkcovidnet, "convert", stopped)
    assert start(manifest, recipe) == 130
    assert len(trained.runs) == 3
    monkeypatch.setattr(darkcovidnet, "convert", trained.convert)
    assert start(manifest, recipe) == 0
    assert trained.runs[2:4] == [("tiny.3.images.2", True), ("tiny.3.images.2", False)]
    assert len(trained.runs) == NETWORKS + 1


def test_each_fold_answers_as_its_manifest_says(manifest: Path, recipe: Path, trained: Trained) -> None:
    trained.correction = {"covid": 50.0}
    told = run_one(manifest, recipe, 3, apart=False)
    assert told["accuracy"] == pytest.approx(1 / 3, abs=0.01)


def test_a_network_that_agrees_badly_with_float_stops_nothing_and_is_told(
    manifest: Path, recipe: Path, trained: Trained
) -> None:
    assert start(manifest, recipe) == 0
    assert {options.min_agreement for options in trained.options} == {0.0}
    told = [agreement for r in results(manifest)["runs"] for agreement in r["agreements"]]
    assert told == [round(1 - i / 100, 2) for i in range(1, NETWORKS + 1)]
    assert (
        "agreement of an int8 network with float, on what validates: 80.0%"
        in (manifest.parent / "runs/tiny.md").read_text()
    )


def test_the_pairs_of_a_fold_are_compared_among_themselves() -> None:
    labels = ("normal", "pneumonia", "normal", "pneumonia", "normal", "covid", "pneumonia")
    fields = {"matched_pair": "m1"}
    cases = [Case(Path(f"{i}.png"), label, fields=fields) for i, label in enumerate(labels)]
    cases[6] = replace(cases[6], fields={"matched_pair": ""})
    judged = np.zeros((5, 7), bool)
    judged[0, [0, 1]] = judged[1, [2, 3, 6]] = judged[2, [4, 5]] = True
    # Whatever the first fold says is above what the second says; in each, normal is above pneumonia.
    scores = np.array([0.9, 0.8, 0.2, 0.1, 0.0, 1.0, 1.0])
    assert darkcovidnet.pairs_auroc(cases, scores, judged) == 1
    assert darkcovidnet.pairs_auroc(cases, 1 - scores, judged) == 0
    assert darkcovidnet.pairs_auroc(cases, scores, judged[2:]) is None


def test_normal_is_found_wherever_the_recipe_has_it(manifest: Path, recipe: Path, trained: Trained) -> None:
    assert read_recipe(recipe).labels[0] != "normal"
    told = run_one(manifest, recipe, 3)
    assert (told["pairs"], told["pairs_auroc"]) == (24, 1)
    assert told["by_label"] == {"covid": 24, "normal": 24, "pneumonia": 24}


def test_without_pairs_and_sizes_they_are_not_measured(manifest: Path, recipe: Path, trained: Trained) -> None:
    without(without(manifest, "matched_pair"), "source_bytes")
    assert start(manifest, recipe) == 0
    told = results(manifest)
    assert {r["pairs_auroc"] for r in told["runs"]} == {None}
    assert told["by_file_sizes"] == {"3": None, "2": None}
    text = (manifest.parent / "runs/tiny.md").read_text()
    assert "AUROC within a fold: not measured" in text
    assert text.count("| not measured |") == 2
    assert "nan" not in text.lower()


def test_sizes_that_are_no_numbers_are_not_measured(manifest: Path) -> None:
    cases = darkcovidnet.of_the_protocol(read_cases(manifest))
    assert darkcovidnet.by_file_sizes(cases) == 1
    for value in ("nan", "inf", ""):
        broken = [replace(c, fields={**c.fields, "width0": value}) for c in cases[:1]] + cases[1:]
        assert darkcovidnet.by_file_sizes(broken) is None


def test_a_recipe_without_a_label_is_refused_before_anything_is_trained(
    manifest: Path, recipe: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.write_text(RECIPE.replace('"covid", ', ""))
    assert start(manifest, recipe) == 1
    assert f"{recipe}: labels lack covid" in capsys.readouterr().err
    assert trained.runs == []


def test_data_of_other_collections_are_refused(manifest: Path) -> None:
    cases = [replace(c, source="elsewhere") if c.label == "covid" else c for c in read_cases(manifest)]
    with pytest.raises(DatasetError, match="lack covid of covid_image_data_collection; .*source"):
        darkcovidnet.of_the_protocol(cases)
    assert {c.source for c in darkcovidnet.of_the_protocol(read_cases(manifest))} == set(darkcovidnet.SOURCES.values())


def test_too_few_patients_for_five_folds_are_refused(manifest: Path) -> None:
    cases = [c for c in read_cases(manifest) if c.label != "covid" or c.patient < "covid3"]
    with pytest.raises(DatasetError, match="five folds need 10 patients of each label; the data have 5 of covid"):
        darkcovidnet.of_the_protocol(cases)


def test_without_scikit_learn_the_extra_is_named(
    manifest: Path, recipe: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sklearn", "sklearn.model_selection"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"covidnet-lite\[training\]"):
        darkcovidnet.folds(read_cases(manifest), apart=True)
    assert start(manifest, recipe) == 1
    assert "covidnet-lite[training]" in capsys.readouterr().err
    assert trained.runs == []


def test_the_table_says_what_the_figures_are() -> None:
    result = {
        "by_label": {"normal": 427, "covid": 136},
        "folds": [0.8, 0.9],
        "accuracy": 0.85,
        "interval": [0.82, 0.88],
        "agreements": [None, 0.98],
        "films_whose_patient_was_trained_on": 0.5,
        "pairs": 208,
        "pairs_auroc": 0.6543,
    }
    both = [{**result, "classes": n, "patients_apart": apart} for n in (3, 2) for apart in (False, True)]
    text = darkcovidnet.markdown(both, {3: 0.7, 2: None})
    head, _, three, two, *_ = text.splitlines()
    assert "regression on bytes and pixel sizes" in head
    assert "427 normal (500), 136 covid (125) | 87.02% |" in three
    assert "85.00% (interval 82.0% to 88.0%; folds 80.0% to 90.0%)" in three
    assert "| 98.08% |" in two
    for words in (
        "64 % of the films, validated on 16 % and judged on 20 %",
        "films of one patient are not",
        "50% of the films judged",
        "208 films of matched pairs, patients apart, AUROC within a fold: 0.654",
        "with float, on what validates: 98.0%",
    ):
        assert words in text, words


def test_the_shipped_recipe_uses_no_finder_that_saw_films_it_is_judged_on() -> None:
    recipe = read_recipe(ROOT / "training/recipes/darkcovidnet.toml")
    assert not recipe.lungs
    assert set(recipe.labels) == set(darkcovidnet.SOURCES)


def test_real_networks_are_trained_converted_and_found_again(
    manifest: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(darkcovidnet, "FOLDS", 2)
    told = run_one(manifest, recipe)
    assert len(told["folds"]) == 2
    assert all(0 <= agreement <= 1 for agreement in told["agreements"])
    made = sorted((manifest.parent / "runs").glob("*/*.tflite"))
    before = [path.stat().st_mtime_ns for path in made]
    assert [path.stem for path in made] == ["tiny.2.patients.0", "tiny.2.patients.1"]
    assert run_one(manifest, recipe) == told
    assert [path.stat().st_mtime_ns for path in made] == before
    assert capsys.readouterr().out == ""
