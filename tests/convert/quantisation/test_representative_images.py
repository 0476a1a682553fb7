from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convert.quantisation import representative_images
from covidnet_lite.dataset import LabelledImage, read_dataset
from covidnet_lite.errors import DatasetError
from covidnet_lite.network.input_spec import InputSpec

SPEC = InputSpec(64, 64)


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64), np.uint8)


def test_the_choice_is_level_over_labels_and_sources_and_repeats() -> None:
    cases = [LabelledImage(Path(f"{i}"), "normal", source="big", split="train") for i in range(100)]
    cases += [LabelledImage(Path(f"s{i}"), "covid", source="small", split="train") for i in range(12)]
    chosen = representative_images.choose(cases, 20)
    assert Counter(c.label for c in chosen) == {"normal": 10, "covid": 10}
    assert chosen == representative_images.choose(cases, 20)
    assert chosen != representative_images.choose(cases, 20, seed=1)
    assert len(representative_images.choose(cases, 500)) == 112


def test_what_is_judged_on_never_calibrates(chests: Path) -> None:
    cases = read_dataset(chests)
    assert {c.split for c in representative_images.choose(cases, 40)} == {"train"}
    with pytest.raises(DatasetError, match="must not calibrate"):
        representative_images.choose([replace(c, split="test") for c in cases], 10)


def test_pictures_are_read_and_fitted_as_on_the_device(chests: Path) -> None:
    spec = InputSpec(40, 32, equalise=True)
    read = representative_images.pixels(read_dataset(chests)[:3], spec)
    assert read.shape == (3, 40, 32)
    assert read.dtype == np.uint8
    (chests / "1.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1\.png"):
        representative_images.pixels(read_dataset(chests)[:3], spec)


@pytest.mark.parametrize("key", ["images", "whatever"])
def test_an_archive_of_pictures_is_read(key: str, tmp_path: Path) -> None:
    given = pictures(3)
    np.savez(tmp_path / "x.npz", **{key: given})
    np.testing.assert_array_equal(representative_images.read_npz(tmp_path / "x.npz", 9, SPEC), given)
    np.savez_compressed(tmp_path / "x.npz", **{key: given[..., None]})
    np.testing.assert_array_equal(representative_images.read_npz(tmp_path / "x.npz", 9, SPEC), given)
    np.savez(tmp_path / "x.npz", **{key: np.repeat(given[..., None], 3, axis=3)})
    np.testing.assert_array_equal(representative_images.read_npz(tmp_path / "x.npz", 9, SPEC), given)


def test_the_array_called_images_is_taken_among_others(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=pictures(2), labels=np.zeros(2))
    assert len(representative_images.read_npz(tmp_path / "x.npz", 9, SPEC)) == 2
    np.savez(tmp_path / "x.npz", pictures=pictures(2), labels=np.zeros(2))
    with pytest.raises(DatasetError, match="holds pictures, labels and no array called images"):
        representative_images.read_npz(tmp_path / "x.npz", 9, SPEC)


def test_of_many_pictures_evenly_spread_ones_are_taken(tmp_path: Path) -> None:
    given = pictures(11)
    np.savez(tmp_path / "x.npz", given)
    np.testing.assert_array_equal(representative_images.read_npz(tmp_path / "x.npz", 3, SPEC), given[[0, 5, 10]])


def test_a_damaged_archive_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=pictures(2))
    whole = (tmp_path / "x.npz").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(whole)
        start = int(rng.integers(0, len(whole)))
        broken[start : start + 20] = rng.bytes(min(20, len(whole) - start))
        (tmp_path / "y.npz").write_bytes(broken[: int(rng.integers(1, len(whole)))] if start % 3 == 0 else broken)
        said = "y.npz"
        try:
            representative_images.read_npz(tmp_path / "y.npz", 2, SPEC)
        except DatasetError as error:  # any other exception fails
            said = str(error)
        assert "y.npz" in said


def test_pictures_in_both_sets_are_named() -> None:
    given = pictures(8)
    representative_images.refuse_overlap(given[:4], given[4:], ["a", "b", "c", "d"])
    with pytest.raises(DatasetError, match=r"4 of 5 images .*\(b, c, d, \.\.\.\)"):
        representative_images.refuse_overlap(given[:4], given[[7, 0, 1, 2, 3]], ["a", "b", "c", "d", "e"])


def test_the_hash_of_a_set_knows_every_pixel_and_no_order() -> None:
    given = pictures(4)
    assert representative_images.digest(given) == representative_images.digest(given[::-1])
    changed = given.copy()
    changed[2, 5, 5] ^= 1
    assert representative_images.digest(given) != representative_images.digest(changed)
    assert representative_images.digest(given) != representative_images.digest(given[:3])
