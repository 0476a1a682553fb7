"""Is this a frontal chest radiograph at all?"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from guards import FEATURES, WITHIN, embeddings, moved
from PIL import Image

import covidnet_lite
from convert.judge.guard import fit_guard
from convert.judge.shown_wrongly import WRONG
from covidnet_lite.network import model
from covidnet_lite.network.guard import Guard, is_blank, shape_of


@pytest.fixture(scope="module")
def guard():
    return fit_guard(embeddings(800, 0), embeddings(600, 1), quantile=0.99, components=WITHIN)


def test_a_guard_keeps_the_main_directions_as_float32(guard):
    assert guard.mean.shape == (FEATURES,)
    assert guard.directions.shape == (WITHIN, FEATURES)
    assert {guard.mean.dtype, guard.directions.dtype, guard.variance.dtype} == {np.dtype(np.float32)}
    np.testing.assert_allclose(guard.directions @ guard.directions.T, np.eye(WITHIN), atol=2e-3)
    assert np.all(np.diff(guard.variance) <= 0)


def test_ordinary_embeddings_are_at_about_one(guard):
    assert guard.distance(embeddings(800, 0)).mean() == pytest.approx(1, abs=0.02)
    assert guard.distance(embeddings(800, 2)).mean() == pytest.approx(1, abs=0.1)


def test_the_distance_is_the_mean_of_both_terms_computed_by_hand():
    guard = Guard(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:2], np.array([0.5, 0.25], np.float32), 0.2, 9.0)
    # (4, 9, 36) has the roots (2, 3, 6) and the length 7.
    expected = ((4 / 0.5 + 9 / 0.25) / 2 + 36 / 0.2) / 49 / 2
    assert guard.distance(np.array([4, 9, 36])) == pytest.approx(expected, rel=1e-5)
    assert guard.distance(np.array([-4, 9, -36])) == pytest.approx(expected, rel=1e-5)


def test_what_lies_towards_synthetic_outliers_adds_to_the_distance_and_what_lies_away_takes_nothing():
    plain = Guard(np.zeros(3, np.float32), np.eye(3, dtype=np.float32)[:2], np.array([0.5, 0.25], np.float32), 0.2, 9.0)
    guard = replace(plain, foreign=np.array([0, 7, -7], np.float32), foreign_offset=-5.0)
    # The shape of (4, 9, 36) is (2, 3, 6) / 7.
    assert guard.distance(np.array([4, 9, 36])) - plain.distance(np.array([4, 9, 36])) == pytest.approx(3 - 6 + 5)
    assert guard.distance(np.array([4, 0, 36])) == pytest.approx(plain.distance(np.array([4, 0, 36])))
    both = guard.distance(np.array([[4, 9, 36], [4, 0, 36]]))
    assert both[0] == pytest.approx(guard.distance(np.array([4, 9, 36])))


def test_the_way_to_synthetic_outliers_survives_being_stored(guard):
    foreign = np.linspace(-3, 3, FEATURES, dtype=np.float32)
    stored = Guard.from_npz(replace(guard, foreign=foreign, foreign_offset=1.25).to_npz())
    np.testing.assert_allclose(stored.foreign, foreign, atol=2e-3)
    assert stored.foreign_offset == 1.25
    assert Guard.from_npz(guard.to_npz()).foreign.shape == (0,)
    with np.load(io.BytesIO(stored.to_npz())) as arrays:
        assert arrays["foreign"].dtype == np.float16


@pytest.mark.parametrize(
    "fields",
    [
        {"foreign": np.zeros(FEATURES - 1, np.float32)},
        {"foreign": np.zeros((FEATURES, 1), np.float32)},
        {"foreign": np.full(FEATURES, np.nan, np.float32)},
        {"foreign": np.zeros(FEATURES, np.float32), "foreign_offset": float("inf")},
    ],
)
def test_a_way_to_synthetic_outliers_that_does_not_fit_is_refused(guard, fields):
    with pytest.raises(ValueError, match="guard's"):
        replace(guard, **fields)


def with_arrays(guard, **changes):
    """The bytes of a guard whose arrays are changed."""
    with np.load(io.BytesIO(guard.to_npz())) as arrays:
        return saved(**{**arrays, **changes})


@pytest.mark.parametrize("offset", [[], [1.0, 2.0], [[1.0, 2.0]], ["far"]])
def test_an_offset_that_is_not_one_number_is_refused(guard, offset):
    knowing = replace(guard, foreign=np.ones(FEATURES, np.float32))
    with pytest.raises(ValueError, match="^no guard: "):
        Guard.from_npz(with_arrays(knowing, foreign_offset=np.array(offset)))


def test_an_offset_of_any_shape_is_read_as_a_number(guard):
    knowing = replace(guard, foreign=np.ones(FEATURES, np.float32))
    offset = Guard.from_npz(with_arrays(knowing, foreign_offset=np.array([[1.5]]))).foreign_offset
    assert (type(offset), offset) == (float, 1.5)


def test_a_weak_embedding_of_the_same_shape_is_as_far_as_a_strong_one(guard):
    ordinary = embeddings(20, 3)
    for weaker in (50, 1e6):
        np.testing.assert_allclose(guard.distance(ordinary), guard.distance(ordinary / weaker), rtol=1e-3)
    assert np.isfinite(guard.distance(np.zeros(FEATURES)))


def test_embeddings_of_another_shape_are_refused(guard):
    ordinary = embeddings(50, 3)
    strange = np.random.default_rng(4).permutation(ordinary.T).T
    assert np.all(guard.distance(strange) > guard.limit)
    some, more = (ordinary + share * (strange - ordinary) for share in (0.3, 0.6))
    assert guard.distance(ordinary).mean() < guard.distance(some).mean() < guard.distance(more).mean()


def test_one_embedding_and_many_give_the_same_distances(guard):
    many = embeddings(6, 5).reshape(2, 3, FEATURES)
    assert guard.distance(many).shape == (2, 3)
    assert guard.distance(many[1, 2]).shape == ()
    assert guard.distance(many[1, 2]) == pytest.approx(guard.distance(many)[1, 2], rel=1e-5)


def test_a_guard_survives_its_npz_unchanged(guard):
    again = Guard.from_npz(guard.to_npz())
    np.testing.assert_array_equal(again.directions, guard.directions)
    np.testing.assert_array_equal(again.distance(embeddings(20, 6)), guard.distance(embeddings(20, 6)))
    assert (again.residual, again.limit) == (guard.residual, guard.limit)
    assert again.to_npz() == guard.to_npz()


def test_the_bytes_of_an_npz_do_not_change_from_version_to_version():
    """The shipped files stay the same."""
    rng = np.random.default_rng(1)
    mean, directions, normals = (rng.normal(size=size) for size in (3, (2, 3), (1, 3)))
    data = Guard(mean, directions, np.array([2, 1]), 0.3, 2.5, ("turned",), normals, np.ones(1)).to_npz()
    with np.load(io.BytesIO(data)) as arrays:
        kinds = {name: array.dtype.str for name, array in arrays.items()}
    assert kinds == {
        "mean": "<f2", "directions": "<f2", "variance": "<f4", "limits": "<f8",
        "wrong": "<U6", "normals": "<f2", "offsets": "<f4",
    }  # fmt: skip
    assert hashlib.sha256(data).hexdigest()[:16] == "b5fae86f746df1c2"


def test_half_precision_changes_a_distance_by_less_than_a_hundredth(guard):
    rng = np.random.default_rng(7)
    exact = Guard(
        guard.mean + rng.uniform(-1e-4, 1e-4, FEATURES).astype(np.float32),
        guard.directions + rng.uniform(-1e-5, 1e-5, guard.directions.shape).astype(np.float32),
        guard.variance, guard.residual, guard.limit,
    )  # fmt: skip
    stored = Guard.from_npz(exact.to_npz())
    assert np.any(stored.mean != exact.mean)
    np.testing.assert_allclose(stored.distance(embeddings(50, 8)), exact.distance(embeddings(50, 8)), rtol=1e-2)


HEADER = np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0


def npz(shape, packed=zipfile.ZIP_STORED, data=b"", dtype="<f2", by_columns=False, version=1):
    """A guard whose ``mean`` claims a shape."""
    entry, file = io.BytesIO(), io.BytesIO()
    HEADER[version - 1](entry, {"descr": dtype, "fortran_order": by_columns, "shape": shape})
    with zipfile.ZipFile(file, "w", packed) as archive:
        archive.writestr("mean.npy", entry.getvalue() + data)
    return file.getvalue()


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no archive", "File is not a zip file"),
        (saved(weights=np.zeros(3)), "'limits'"),
        (npz((9 << 40,)), f"mean.npy is not as long as its shape ({9 << 40},) says"),
        (npz((1 << 62, 8)), f"mean.npy is not as long as its shape ({1 << 62}, 8) says"),
        (npz((-1,)), "mean.npy is not as long as its shape (-1,) says"),
        (npz((2, 2), data=bytes(8), by_columns=True), "mean.npy holds no plain numbers"),
        (npz((4,), data=bytes(32), dtype="|O"), "mean.npy holds no plain numbers"),
        (npz((4,), data=bytes(32), dtype="<c8"), "mean.npy holds no plain numbers"),
        (npz((1000, 1000, 10), zipfile.ZIP_DEFLATED, bytes(20_000_000)), "mean.npy is packed, or claims to be longer than it is"),
        (npz((3,), data=bytes(6), version=2), "mean.npy is of another format"),
    ],
    ids=["no zip", "other arrays", "18 TiB", "overflow", "negative", "by columns", "objects", "complex", "packed", "version"],
)  # fmt: skip
def test_bytes_that_are_no_guard_are_refused(data, words):
    with pytest.raises(ValueError, match=f"^no guard: {re.escape(words)}$"):
        Guard.from_npz(data)


def test_embeddings_are_compared_in_single_precision():
    shape = shape_of(np.array([[4.0, -9.0, 36.0]]))
    assert shape.dtype == np.float32
    np.testing.assert_allclose(shape, [[2 / 7, -3 / 7, 6 / 7]], rtol=1e-6)


def ramp(levels):
    return Image.fromarray((100 + np.arange(200 * 200).reshape(200, 200) % levels).astype(np.uint8))


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_picture_is_blank(level):
    assert is_blank(Image.new("L", (100, 80), level).histogram())


def test_fewer_than_eight_levels_apart_is_blank():
    assert is_blank(ramp(8).histogram())  # 7 levels from the darkest to the brightest
    assert not is_blank(ramp(9).histogram())


@pytest.mark.parametrize("speck", [0, 255])
def test_specks_on_an_empty_plate_do_not_make_it_a_picture(speck):
    plate = Image.new("L", (200, 200), 130)
    plate.paste(speck, (0, 0, 18, 20))  # 0.9 %: a letter in the corner
    assert is_blank(plate.histogram())
    plate.paste(speck, (0, 0, 200, 20))
    assert not is_blank(plate.histogram())


def test_a_faint_radiograph_is_not_blank():
    assert not is_blank(ramp(30).histogram())


@pytest.fixture(scope="module")
def with_planes():
    """A guard that knows two ways to be wrong: moved along one direction each."""
    right = embeddings(400, 0)
    return fit_guard(
        right, embeddings(300, 1), components=WITHIN, wrong={"turned": moved(right, 0), "dark": moved(right, 1)}
    )


def test_what_is_shown_wrongly_is_named(with_planes):
    unseen = embeddings(100, 7)
    assert [with_planes.display_fault(e) for e in unseen] == [None] * 100
    assert {with_planes.display_fault(e) for e in moved(unseen, 0)} == {"turned"}
    assert {with_planes.display_fault(e) for e in moved(unseen, 1)} == {"dark"}


def test_a_guard_without_planes_finds_nothing_shown_wrongly(guard):
    assert guard.display_fault(moved(embeddings(1, 7), 0)[0]) is None


def test_planes_survive_the_npz(with_planes):
    again = Guard.from_npz(with_planes.to_npz())
    assert again.faults == ("turned", "dark")
    np.testing.assert_array_equal(again.normals, with_planes.normals)
    np.testing.assert_array_equal(again.offsets, with_planes.offsets)
    assert {again.normals.dtype, again.offsets.dtype} == {np.dtype(np.float32)}


def test_planes_and_the_way_to_synthetic_outliers_survive_side_by_side(with_planes):
    foreign = np.linspace(-3, 3, FEATURES, dtype=np.float32)
    again = Guard.from_npz(replace(with_planes, foreign=foreign, foreign_offset=1.25).to_npz())
    assert again.faults == ("turned", "dark")
    assert (len(again.foreign), again.foreign_offset) == (FEATURES, 1.25)


def test_what_lies_on_a_plane_is_not_shown_wrongly(with_planes):
    planes = replace(with_planes, normals=np.zeros((2, FEATURES), np.float32), offsets=np.zeros(2, np.float32))
    assert planes.display_fault(embeddings(1, 7)[0]) is None


ARRAYS, PLANES = "arrays do not fit each other", "planes do not fit its arrays"
POSITIVE = "variances and limits must be positive"


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"mean": np.zeros((3, 1))}, ARRAYS),
        ({"mean": np.zeros(4)}, ARRAYS),
        ({"directions": np.zeros(6)}, ARRAYS),
        ({"variance": np.ones((2, 1))}, ARRAYS),
        ({"variance": np.ones(3)}, ARRAYS),
        ({"faults": ("turned", "dark")}, PLANES),
        ({"offsets": np.zeros(2)}, PLANES),
        ({"normals": np.zeros((2, 3))}, PLANES),
        ({"normals": np.zeros((1, 4))}, PLANES),
        ({"normals": np.zeros(3)}, PLANES),
        ({"faults": (), "normals": np.float32(0), "offsets": np.zeros(0)}, PLANES),
        ({"faults": ("",)}, "names for what is shown wrongly must be printable"),
        ({"faults": ("\x1b[2J",)}, "names for what is shown wrongly must be printable"),
        *(
            ({name: np.full(shape, np.inf)}, "arrays hold NaN or infinite values")
            for name, shape in (("mean", 3), ("directions", (2, 3)), ("variance", 2), ("normals", (1, 3)), ("offsets", 1))
        ),
        ({"variance": np.array([1, 0])}, POSITIVE),
        *(({name: value}, POSITIVE) for name in ("residual", "limit") for value in (0.0, np.inf, np.nan)),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_refused(parts, words):
    good = Guard(np.zeros(3), np.zeros((2, 3)), np.ones(2), 1e-9, 0.5, ("turned",), np.zeros((1, 3)), np.zeros(1))
    with pytest.raises(ValueError, match=f"^the guard's {words}$"):
        replace(good, **parts)


@pytest.mark.parametrize("name", model.shipped())
@pytest.mark.parametrize("wrong", WRONG)
def test_shipped_networks_refuse_a_film_shown_wrongly(film_image, name, wrong):
    classifier = covidnet_lite.Classifier(name)
    assert classifier.classify(film_image).status != "refused"
    assert classifier.classify(WRONG[wrong](film_image)).status == "refused"
