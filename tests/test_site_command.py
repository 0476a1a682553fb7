"""``covidnet-lite site`` and ``--site``, on pictures made of one real radiograph."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sites import NETWORK, site

import covidnet_lite
from covidnet_lite import Classifier, radiograph
from covidnet_lite.cli import main
from covidnet_lite.errors import SiteError
from covidnet_lite.machine import doctor
from covidnet_lite.site import site as sites
from covidnet_lite.site.drift import Report
from covidnet_lite.site_command import DRIFT, observation_of
from covidnet_lite.watch.command import _report_drift


@pytest.fixture(scope="module")
def normals(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pictures of one radiograph, each of another brightness and grain."""
    folder, rng = tmp_path_factory.mktemp("normals"), np.random.default_rng(0)
    small = np.asarray(radiograph.read(film).image.resize((300, 320)), float) / 255
    for i in range(36):
        grain = 255 * small ** rng.uniform(0.8, 1.25) + rng.normal(0, 3, small.shape)
        Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def here(normals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "site.json"
    options = ["--model", "nano", "--name", "St. Elsewhere", "--usual", str(normals), "-o", str(path)]
    assert main(["site", "fit", "--normal", str(normals), *options]) == 0
    return path


def test_a_fit_is_written_and_says_how_far_it_may_be_off(normals: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "new" / "site.json"
    assert main(["site", "fit", "--normal", str(normals), "--model", "nano", "-o", str(path)]) == 0
    output = capsys.readouterr().out
    assert "normal called ill: 5.4% expected; 0.7% to 14.5% with 36 radiographs (95 %)" in output
    assert "takes labels to know" in output
    assert "give the radiographs of ordinary days with --usual" in output
    fitted = sites.read(path)
    assert (fitted.radiographs, fitted.name, fitted.network) == (36, "unnamed", NETWORK)
    assert fitted.positive_from != Classifier("nano").manifest.operating_point.positive_from  # type: ignore[union-attr]


def test_the_operating_point_is_the_one_that_is_asked_for(normals: Path, tmp_path: Path, capsys: Any) -> None:
    options = ["--normal-called-ill", "0.2", "--normal-called-normal", "0.5", "-o", str(tmp_path)]
    assert main(["site", "fit", "--normal", str(normals), "--model", "nano", *options]) == 0
    assert sites.read(tmp_path / "site.json").rates["normal called ill"][0] == pytest.approx(7 / 37)
    assert "normal called ill: 18.9% expected" in capsys.readouterr().out


def test_too_few_copies_and_labels_that_contradict_are_refused(normals: Path, tmp_path: Path, capsys: Any) -> None:
    few, out = tmp_path / "few", tmp_path / "site.json"
    few.mkdir()
    films = sorted(normals.iterdir())
    for film in films[:20]:
        (few / film.name).symlink_to(film)
    fit = ["site", "fit", "--model", "nano", "-o", str(out), "--normal"]
    assert main([*fit, str(few)]) == 2
    assert "there are 20 usable normals; give 30 or more" in capsys.readouterr().err
    for film in films[:20]:
        Image.open(film).save(few / f"again-{film.stem}.tif")  # the same picture in another file
    assert main([*fit, str(few)]) == 2
    assert "20 of the 40 normals are repetitions" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text(f"file,label\n{films[0]},covid\n")
    assert main([*fit, str(normals), "--labelled", str(tmp_path / "labels.csv")]) == 2
    assert "is the same image as" in capsys.readouterr().err
    assert main([*fit, str(tmp_path / "nowhere")]) == 2
    assert "holds no radiograph" in capsys.readouterr().err
    assert not out.exists()


def test_one_picture_has_one_key_and_two_have_two(normals: Path) -> None:
    classifier, films = Classifier("nano"), sorted(normals.iterdir())
    keys = [observation_of(classifier.classify(film)).key for film in (films[0], films[0].read_bytes(), films[1])]
    assert keys[0] == keys[1] != keys[2]


def test_every_answer_names_the_site_and_goes_by_its_thresholds(normals: Path, here: Path, capsys: Any) -> None:
    films = [str(film) for film in sorted(normals.iterdir())[:3]]
    main(["classify", *films, "--model", "nano", "--site", str(here), "--format", "json"])
    output = json.loads(capsys.readouterr().out)
    assert all(one["site"] == sites.read(here).to_dict() for one in output)
    alone = [covidnet_lite.classify(film, "nano") for film in films]
    assert alone[0].site is None
    assert "site" not in alone[0].to_dict()
    library = covidnet_lite.classify(films[0], "nano", site=here)
    assert library.probabilities == pytest.approx(output[0]["probabilities"], abs=1e-5)
    assert library.probabilities["normal"] != pytest.approx(alone[0].probabilities["normal"], abs=0.01)
    assert covidnet_lite.classify(films[0], "nano", site=sites.read(here)).site == sites.read(here)


def test_the_site_that_is_used_is_the_one_in_the_file_now(normals: Path, tmp_path: Path) -> None:
    film, path = sorted(normals.iterdir())[0], tmp_path / "site.json"
    messages = []
    for shift in (-1.0, 1.0):
        sites.write(path, site(shift=(shift, 0.0, 0.0)))
        messages.append(covidnet_lite.classify(film, "nano", site=path).probabilities["normal"])
    assert messages[0] < messages[1] - 0.2


def test_a_site_of_another_network_is_refused_by_the_library_and_the_command(
    here: Path, normals: Path, capsys: Any
) -> None:
    with pytest.raises(SiteError, match=f"was fitted for {NETWORK}"):
        Classifier("base", site=here)
    assert main(["classify", str(normals), "--site", str(here)]) == 2
    assert f"was fitted for {NETWORK}" in capsys.readouterr().err


def test_the_doctor_tells_of_the_site_and_of_a_file_that_is_none(
    here: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "installed_runtimes", lambda: ())  # which takes long
    assert main(["doctor", "--site", str(here)]) == 0
    assert "site           St. Elsewhere (fitted" in (output := capsys.readouterr().out)
    assert f"for {NETWORK}, which is nano of this package" in output
    assert main(["doctor", "--site", str(tmp_path)]) == 0
    assert "the site's file cannot be read" in capsys.readouterr().out


def test_a_folder_is_classified_anew_for_another_site_and_its_days_are_compared(
    normals: Path, here: Path, tmp_path: Path, capsys: Any
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    for film in sorted(normals.iterdir())[:12]:
        (inbox / film.name).write_bytes(film.read_bytes())
    watch = ["watch", str(inbox), "--once", "--settle", "0.05", "--interval", "0.05", "--model", "nano"]
    assert main(watch) == 0
    assert main(["site", "watch", str(inbox), "--site", str(here)]) == 2
    assert "holds no result given with" in capsys.readouterr().err
    assert main([*watch, "--site", str(here)]) == 0
    assert capsys.readouterr().out.count("\n") == 12
    assert main([*watch, "--site", str(here)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["site", "watch", str(inbox), "--site", str(here)]) == 0
    assert "12 radiographs: no drift beyond chance" in capsys.readouterr().out
    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 256, (300, 300), np.uint8)
        Image.fromarray(noise).save(inbox / f"noise{i}.png")
    main([*watch, "--site", str(here)])
    capsys.readouterr()
    assert main(["site", "watch", str(inbox), "--site", str(here), "--json"]) == DRIFT
    (output,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (output["films"], output["drift"]) == (24, True)
    assert output["changes"][0].startswith("refused: 50% (12 of 24), at the fit 0% (0 of 36)")


def test_each_prediction_is_told_to_what_follows_the_days(normals: Path, here: Path) -> None:
    classifier, films = Classifier("nano", site=here), sorted(normals.iterdir())[:4]
    messages: list[str] = []
    classifier.on_prediction = lambda prediction: messages.append(prediction.name)
    list(classifier.classify_many([*films, b"no radiograph"]))
    classifier.classify(films[0])
    assert sorted(messages) == sorted(str(film) for film in [*films, films[0]])


def test_watch_logs_a_day_that_drifted_and_tells_the_broker_of_every_day(caplog: pytest.LogCaptureFixture) -> None:
    published: list[dict[str, Any]] = []
    publisher: Any = type("", (), {"publish_drift": staticmethod(published.append)})
    for changes in ((), ("refused: 9 of 9",)):
        _report_drift(Report(datetime.date(2026, 11, 30), 9, changes), publisher)
    assert caplog.messages == ["drift: 2026-11-30: 9 radiographs: refused: 9 of 9"]
    assert [one["drift"] for one in published] == [False, True]
