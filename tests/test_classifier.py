from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import covidnet_lite
from covidnet_lite.errors import InputError
from covidnet_lite.evidence.extent import ExtentScale
from covidnet_lite.evidence.place import locate
from covidnet_lite.network import model
from covidnet_lite.network.interpreter import installed_runtimes
from covidnet_lite.network.operating_point import OperatingPoint


@pytest.fixture(scope="module")
def classifier() -> covidnet_lite.Classifier:
    return covidnet_lite.Classifier()


def test_a_real_film_is_answered_or_openly_abstained_from(film: Path) -> None:
    prediction = covidnet_lite.classify(film)
    assert prediction.status in ("answered", "unsure")
    assert set(prediction.probabilities) == {"normal", "pneumonia", "covid"}
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert (prediction.label is None) == (prediction.reason is not None)
    assert prediction.evidence is not None
    assert prediction.evidence.shape == (14, 14, 3)
    assert set(prediction.timings) == {"read", "fit", "run", "judge"}
    assert all(ms > 0 for ms in prediction.timings.values())
    assert len(prediction.sha256) == 64


def test_every_way_to_give_the_same_picture_gives_the_same_answer(
    classifier: covidnet_lite.Classifier, film_png: Path
) -> None:
    image = Image.open(film_png)
    data = film_png.read_bytes()
    ways = {
        "path": film_png,
        "str": str(film_png),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "stream": io.BytesIO(data),
        "PIL": image,
        "array": np.asarray(image),
        "array with a channel": np.asarray(image)[..., None],
        "RGB": image.convert("RGB"),
        "RGBA": np.asarray(image.convert("RGBA")),
    }
    expected = classifier.classify(film_png).probabilities
    for way, img in ways.items():
        assert classifier.classify(img).probabilities == expected, way
    with film_png.open("rb") as file:
        assert classifier.classify(file).probabilities == expected


def test_wider_arrays_tell_the_same_story(classifier: covidnet_lite.Classifier, film_image: Image.Image) -> None:
    eight = np.asarray(film_image)
    expected = classifier.classify(eight).probabilities
    for other in (eight.astype(np.uint16) * 257, eight / 255.0, eight.astype(np.float32) * 8 - 1000):
        result = classifier.classify(other).probabilities
        assert result["covid"] == pytest.approx(expected["covid"], abs=0.1)


def test_many_are_answered_in_order_and_a_bad_one_costs_only_itself(
    classifier: covidnet_lite.Classifier, film_png: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    inputs = [film_png, bad, film_png, tmp_path / "missing.png", np.zeros((0, 0))] * 3 + [film_png]
    results = list(classifier.classify_many(inputs))
    assert [r.status == "failed" for r in results] == [False, True, False, True, True] * 3 + [False]
    assert [r.name for r in results[:4]] == [str(p) for p in inputs[:4]]
    assert isinstance(results[1], covidnet_lite.Failure)
    assert isinstance(results[1].error, InputError)
    assert results[0].to_dict()["probabilities"] == classifier.classify(film_png).to_dict()["probabilities"]


def test_many_is_lazy(classifier: covidnet_lite.Classifier, film_png: Path) -> None:
    count = 0

    def endless() -> Iterator[Path]:
        nonlocal count
        while True:
            count += 1
            yield film_png

    results = classifier.classify_many(endless())
    for _ in range(5):
        next(results)
    results.close()
    assert count < 100


def test_many_do_not_wait_for_a_network_that_is_taken(film_png: Path) -> None:
    busy = covidnet_lite.Classifier(threads=1)
    (expected,) = busy.classify_many([film_png])
    assert not busy._spares  # one alone needs none
    with busy._lock:
        (result,) = busy.classify_many([film_png])
        assert result.to_dict()["probabilities"] == expected.to_dict()["probabilities"]
        spares = list(busy._spares)
        list(busy.classify_many([film_png]))
    assert busy._spares == spares
    assert len(spares) == 1


def test_many_threads_get_the_answers_of_one(classifier: covidnet_lite.Classifier, film_image: Image.Image) -> None:
    pictures = [film_image.rotate(angle) for angle in range(0, 24, 2)]
    expected = [classifier.classify(p).probabilities for p in pictures]
    results: dict[int, dict[str, float]] = {}

    def work(start: int) -> None:
        for i in range(start, 60, 6):
            results[i] = classifier.classify(pictures[i % 12]).probabilities

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [results[i] for i in range(60)] == [expected[i % 12] for i in range(60)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_still_answers(film_png: Path) -> None:
    program = (
        "import os, sys, covidnet_lite as c; k = c.Classifier(threads=2); a = k.classify(sys.argv[1]).probabilities\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(0 if k.classify(sys.argv[1]).probabilities == a else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", program, film_png], timeout=60).returncode == 0


@pytest.mark.parametrize("runtime", ["litert", "tensorflow"])
def test_runtimes_give_the_same_prediction(runtime: str, film_png: Path, classifier: covidnet_lite.Classifier) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    other = covidnet_lite.Classifier(runtime=runtime, threads=1)
    assert other.runtime == runtime
    one, reference = other.classify(film_png), classifier.classify(film_png)
    assert one.labels == reference.labels
    # Versions of a runtime round the last layers differently: by one int8 step of a logit at most.
    assert one.probabilities == pytest.approx(reference.probabilities, abs=0.015)


def test_reduced_decoding_answers_like_exact_decoding(film_image: Image.Image) -> None:
    buffer = io.BytesIO()
    film_image.resize((2048, 2048)).save(buffer, "JPEG", quality=95)
    exact = covidnet_lite.Classifier(exact=True).classify(buffer.getvalue())
    reduced = covidnet_lite.Classifier().classify(buffer.getvalue())
    assert reduced.most_likely == exact.most_likely
    assert reduced.confidence == pytest.approx(exact.confidence, abs=0.05)


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_is_refused(classifier: covidnet_lite.Classifier, level: int) -> None:
    prediction = classifier.classify(np.full((300, 300), level, np.uint8))
    assert prediction.status == "refused"
    assert prediction.label is None
    assert prediction.probabilities == {}
    assert "blank" in str(prediction.reason)


def test_noise_is_refused(classifier: covidnet_lite.Classifier) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 400), dtype=np.uint8)
    assert classifier.classify(noise).status == "refused"


def test_photographs_get_no_label(classifier: covidnet_lite.Classifier, photographs: list[Path]) -> None:
    results = list(classifier.classify_many(photographs))
    assert [r.name for r in results if r.label is not None] == []


def test_other_dicom_files_get_no_label(classifier: covidnet_lite.Classifier, film: Path) -> None:
    for path in sorted(film.parent.glob("*.dcm")):
        if not path.name.startswith("RG1"):
            (result,) = classifier.classify_many([path])
            assert result.label is None, path.name
            assert result.reason


def test_a_dicom_file_says_why_it_is_refused(classifier: covidnet_lite.Classifier, film: Path) -> None:
    prediction = classifier.classify(film.parent / "MR2_UNCR.dcm")
    assert prediction.status == "refused"
    assert "modality MR" in str(prediction.reason)


def test_the_heat_map_is_a_picture_of_the_film(
    classifier: covidnet_lite.Classifier, film: Path, film_png: Path
) -> None:
    prediction = classifier.classify(film)
    assert prediction.evidence is not None
    contrast = prediction.evidence - prediction.evidence.mean(axis=-1, keepdims=True)
    label = classifier.labels[int(contrast.max((0, 1)).argmax())]  # of the class that most speaks for
    picture = prediction.heatmap(label, legend=False)
    assert picture.mode == "RGB"
    assert max(picture.size) == 1024
    width, height = Image.open(film_png).size
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.01)
    plain = np.asarray(prediction.heatmap(label, opacity=0.0, legend=False), int)
    assert np.ptp(plain, axis=2).max() == 0  # gray
    assert np.ptp(np.asarray(picture, int), axis=2).max() > 50  # coloured


def test_a_stream_keeps_its_heat_map(classifier: covidnet_lite.Classifier, film_png: Path) -> None:
    with film_png.open("rb") as file:
        prediction = classifier.classify(file)
    assert prediction.heatmap().size == classifier.classify(film_png).heatmap().size


def test_a_film_that_has_gone_can_be_passed_again(
    classifier: covidnet_lite.Classifier, film_png: Path, film: Path
) -> None:
    prediction = classifier.classify(film_png)
    film_png.unlink()
    with pytest.raises(InputError, match="no such file"):
        prediction.heatmap()
    assert prediction.heatmap(image=film).mode == "RGB"


def test_a_refused_image_has_no_heat_map(classifier: covidnet_lite.Classifier) -> None:
    prediction = classifier.classify(np.zeros((200, 200), np.uint8))
    with pytest.raises(covidnet_lite.CovidNetLiteError, match="no evidence map"):
        prediction.heatmap()


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, covidnet_lite; print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'PIL', 'ai_edge_litert', 'tensorflow', 'pydicom', 'keras'}))"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_a_jpeg_is_classified_without_importing_what_only_other_work_needs(tmp_path: Path) -> None:
    Image.effect_noise((600, 600), 90).save(tmp_path / "noise.jpg")
    needless = {"PIL.PngImagePlugin", "covidnet_lite.dicom_in.examination", "covidnet_lite.site.site", "tempfile"}
    program = (
        "import sys, numpy, PIL.Image; others = set(sys.modules)\n"  # Pillow imports tempfile before Python 3.11
        f"import covidnet_lite; covidnet_lite.classify(sys.argv[1]); print({needless} & set(sys.modules) - others)"
    )
    command = [sys.executable, "-c", program, tmp_path / "noise.jpg"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_everything_public_can_be_had(classifier: covidnet_lite.Classifier) -> None:
    assert all(getattr(covidnet_lite, name) is not None for name in covidnet_lite.__all__)
    assert set(covidnet_lite.__all__) <= set(dir(covidnet_lite))
    with pytest.raises(AttributeError):
        covidnet_lite.Klassifier  # type: ignore[attr-defined]  # noqa: B018


def test_of_the_errors_only_those_that_classifying_raises_are_public() -> None:
    assert {name for name in covidnet_lite.__all__ if name.endswith(("Error", "Radiograph"))} == {
        "BackendError",
        "CovidNetLiteError",
        "InputError",
        "MissingExtraError",
        "ModelError",
        "NotAChestRadiograph",
        "OutputError",
        "SettingsError",
        "SiteError",
        "UnforeseenError",
    }


def with_rules(negative_from: float, positive_from: float, **fields: Any) -> covidnet_lite.Classifier:
    """``nano`` with thresholds of a test's own."""
    carried = model.load("nano").manifest
    alone = {"pneumonia": 1.01, "covid": 1.01}
    point = OperatingPoint("normal", negative_from, positive_from, alone, **fields)
    scale = ExtentScale((0.0, 1.0), (0.0, 1.0), 0.09)
    return covidnet_lite.Classifier("nano", manifest=replace(carried, operating_point=point, extent=scale))


def test_a_network_with_an_operating_point_narrows_measures_and_places(film: Path) -> None:
    prediction = with_rules(1.01, 1e-6, inside_from=0.0, accuracy={"right": 0.9}).classify(film)
    assert (prediction.status, prediction.labels, prediction.label) == ("narrowed", ("pneumonia", "covid"), None)
    assert prediction.extent is not None
    assert 0 <= prediction.extent <= 1
    assert (prediction.extent_error, prediction.negative) == (0.09, "normal")
    assert prediction.place is not None
    assert sum(prediction.place.zones.values()) == pytest.approx(prediction.place.inside)
    assert prediction.track_record == "such an answer was right on 90% of radiographs"


def test_the_offset_of_the_extent_scale_counts(film: Path) -> None:
    manifest = with_rules(1.01, 1e-6).manifest
    assert manifest.extent is not None
    scales = [replace(manifest.extent, offset=offset) for offset in (-1.0, 0.0, 1.0)]
    ours = [covidnet_lite.Classifier("nano", manifest=replace(manifest, extent=scale)) for scale in scales]
    less, plain, more = (classifier.classify(film).extent or 0.0 for classifier in ours)
    assert less < plain < more


def test_evidence_outside_the_lungs_withholds_a_positive_answer_but_not_a_negative_one(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corner = (0.0, 0.0, 0.05, 0.05)  # as if the lungs lay there
    monkeypatch.setattr("covidnet_lite.classifier.locate", lambda local, box, *more: locate(local, corner, *more))
    withheld = with_rules(1.01, 1e-6).classify(film)
    assert withheld.place is not None
    assert withheld.place.inside < 0.5
    assert (withheld.status, withheld.labels, withheld.track_record) == ("unsure", (), None)
    assert "outside the lungs" in str(withheld.reason)
    assert with_rules(1e-6, 1.0).classify(film).labels == ("normal",)


def test_what_is_refused_has_neither_extent_nor_place(photographs: list[Path]) -> None:
    for prediction in map(with_rules(1.01, 1e-6).classify, photographs[:2]):
        assert prediction.status == "refused"
        assert (prediction.extent, prediction.extent_error, prediction.place) == (None, None, None)


def test_mirrored_with_a_header_that_says_so_the_side_is_the_same(film: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    classifier = with_rules(1.01, 1e-6, inside_from=0.0)
    data = pydicom.dcmread(film)
    data.PatientOrientation = ["L", "F"]
    data.save_as(tmp_path / "a.dcm")
    first = classifier.classify(tmp_path / "a.dcm").place
    data.PatientOrientation = ["R", "F"]
    data.save_as(tmp_path / "b.dcm")
    other = classifier.classify(tmp_path / "b.dcm").place
    assert first is not None
    assert other is not None
    assert first.zones["right lower"] == other.zones["left lower"] != other.zones["right lower"]


@pytest.mark.parametrize("kind", ["DICOM", "PNG"])
def test_an_image_that_is_kept_saves_the_evidence_map_a_decoding(
    kind: str, answering: Path, film: Path, film_png: Path, decodings: list[str]
) -> None:
    classifier, path = covidnet_lite.Classifier(answering), film if kind == "DICOM" else film_png
    plain, with_image = classifier.classify(path), classifier.classify(path, keep_image=True)
    assert plain.image is None
    assert decodings == [kind] * 2
    overlay = with_image.heatmap()
    assert decodings == [kind] * 2
    np.testing.assert_array_equal(np.asarray(overlay), np.asarray(plain.heatmap()))
    assert decodings == [kind] * 3
    assert classifier.image_of(with_image) is with_image.image
    np.testing.assert_array_equal(np.asarray(classifier.image_of(plain)), np.asarray(with_image.image))
    assert with_image.probabilities == plain.probabilities


def test_a_kept_image_is_neither_printed_nor_pickled_nor_in_json(film_png: Path) -> None:
    with_image = covidnet_lite.Classifier("nano").classify(film_png, keep_image=True)
    assert with_image.image is not None
    assert "image" not in repr(with_image).replace(str(film_png), "")
    assert "image" not in with_image.to_dict()
    again = pickle.loads(pickle.dumps(with_image))
    assert again.image is None
    assert again.to_dict() == with_image.to_dict()
    assert with_image.image is not None


def test_a_list_of_predictions_holds_no_images(film_png: Path) -> None:
    assert [p.image for p in covidnet_lite.Classifier("nano").classify_many([film_png] * 5)] == [None] * 5


def test_of_many_kept_images_only_those_at_hand_are_in_memory(film_png: Path) -> None:
    calls: list[weakref.ref[Any]] = []
    most = 0
    for prediction in covidnet_lite.Classifier("nano").classify_many([film_png] * 40, keep_images=True):
        calls.append(weakref.ref(prediction.image))
        del prediction
        most = max(most, sum(image() is not None for image in calls))
    assert len(calls) == 40
    assert most <= 1
