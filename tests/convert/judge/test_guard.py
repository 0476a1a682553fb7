"""Fitting the guard of a network."""

from __future__ import annotations

import numpy as np
import pytest
from guards import FEATURES, WITHIN, embeddings, moved

from convert.judge.guard import FOREIGN_DISTANCE, MIN_RADIOGRAPHS, ROOM, fit_guard
from covidnet_lite.network.guard import shape_of


@pytest.mark.parametrize("quantile", [0.9, 0.99])
def test_the_quantile_of_the_held_out_embeddings_passes(quantile):
    held_out = embeddings(1000, 1)
    guard = fit_guard(embeddings(800, 0), held_out, quantile, WITHIN)
    assert (guard.distance(held_out) <= guard.limit).mean() == pytest.approx(quantile, abs=0.002)
    assert (guard.distance(embeddings(1000, 2)) <= guard.limit).mean() == pytest.approx(quantile, abs=0.03)


def test_the_directions_are_those_in_which_radiographs_differ_from_their_mean():
    known = embeddings(800, 0)
    guard = fit_guard(known, known, components=WITHIN)
    along = (shape_of(known) - guard.mean) @ guard.directions.T
    np.testing.assert_allclose(along.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(along.var(axis=0), guard.variance, rtol=0.02)


def test_there_are_never_more_directions_than_half_of_the_features_or_radiographs():
    known = embeddings(800, 0)
    assert len(fit_guard(known, known, components=FEATURES).directions) == FEATURES // 2
    assert len(fit_guard(known[:24], known, components=FEATURES).directions) == 12


def hospitals(step):
    """Embeddings of four hospitals, each off the common mean by a step of its own."""
    sources = ["north", "south", "west", "east"]
    off = {s: step * np.random.default_rng(i).normal(size=FEATURES) for i, s in enumerate(sources)}
    of = [sources[i % 4] for i in range(800)]
    return embeddings(800, 0) + np.array([off[s] for s in of]), of


def test_a_source_as_far_off_as_those_that_were_left_out_passes():
    known, of = hospitals(1.0)
    held_out = known[::7]
    plain = fit_guard(known, held_out, components=24)
    wide = fit_guard(known, held_out, components=24, sources=of)
    unseen = embeddings(300, 5) + np.random.default_rng(9).normal(size=FEATURES)
    assert (plain.distance(unseen) <= plain.limit).mean() < 0.5
    assert (wide.distance(unseen) <= wide.limit).mean() > 0.98
    assert (wide.distance(np.random.default_rng(0).normal(size=(50, FEATURES))) > wide.limit).all()


def test_the_limit_lets_pass_as_many_of_every_hospital_by_a_guard_of_the_one_that_knows_it_best():
    known, of = embeddings(120, 0), np.array(["one"] * 40 + ["two"] * 50 + ["three"] * 30)
    known[:40] += np.random.default_rng(2).normal(size=FEATURES)
    held_out = embeddings(60, 1)
    limits = [fit_guard(known, held_out, 0.9, WITHIN).limit]
    for source in ("one", "two", "three"):
        others = [fit_guard(known[of == other], held_out, 0.9, WITHIN) for other in {"one", "two", "three"} - {source}]
        limits.append(min(np.quantile(other.distance(known[of == source]), 0.8) for other in others))
    assert limits[0] < min(limits[1:])
    fitted = fit_guard(known, held_out, 0.9, WITHIN, sources=of.tolist(), hospital_quantile=0.8)
    assert fitted.limit == pytest.approx(max(limits), rel=1e-6)


def test_sources_that_look_alike_or_have_few_radiographs_move_the_limit_little():
    known, of = hospitals(0.0)
    held_out = embeddings(600, 1)
    plain = fit_guard(known, held_out, components=WITHIN)
    assert fit_guard(known, held_out, components=WITHIN, sources=of).limit == pytest.approx(plain.limit, rel=0.2)
    odd = known.copy()
    odd[:10] *= np.random.default_rng(3).uniform(0, 2, FEATURES)
    plain = fit_guard(odd, held_out, components=WITHIN)
    few = ["odd"] * 10 + ["usual"] * 790
    assert fit_guard(odd, held_out, components=WITHIN, sources=few).limit == plain.limit
    assert fit_guard(odd, held_out, components=WITHIN, sources=["one"] * 800).limit == plain.limit
    enough = ["odd"] * MIN_RADIOGRAPHS + ["usual"] * (800 - MIN_RADIOGRAPHS)
    odd[:MIN_RADIOGRAPHS] *= np.random.default_rng(3).uniform(0, 2, FEATURES)
    fewer = ["odd"] * (MIN_RADIOGRAPHS - 1) + ["usual"] * (801 - MIN_RADIOGRAPHS)
    assert (
        fit_guard(odd, held_out, components=WITHIN, sources=fewer).limit
        < fit_guard(odd, held_out, components=WITHIN, sources=enough).limit
    )


def test_a_plane_lies_a_little_beyond_half_way_between_right_and_wrong():
    right = embeddings(400, 0)
    fitted = fit_guard(right, embeddings(300, 1), components=WITHIN, wrong={"turned": moved(right, 0)})
    right, wrong = shape_of(embeddings(400, 0)), shape_of(moved(embeddings(400, 0), 0))
    right_end, wrong_end = (np.stack([right, wrong]) @ fitted.normals[0] - fitted.offsets[0]).mean(axis=1)
    assert right_end / (right_end - wrong_end) == pytest.approx(0.55, rel=0.02)


@pytest.mark.parametrize(("passing", "refused", "is_kept"), [(249, 1, True), (98, 2, False)])
def test_a_plane_that_refuses_too_many_held_out_radiographs_is_left_out(passing, refused, is_kept):
    right = embeddings(400, 0)
    held_out = np.concatenate([embeddings(passing, 1), moved(embeddings(refused, 2), 0)])
    fitted = fit_guard(right, held_out, 0.99, WITHIN, wrong={"turned": moved(right, 0)})
    assert fitted.faults == (("turned",) if is_kept else ())


def test_a_wrong_way_that_cannot_be_told_is_left_out():
    right = embeddings(400, 0)
    fitted = fit_guard(
        right, embeddings(300, 1), components=WITHIN, wrong={"alike": embeddings(400, 8), "turned": moved(right, 0)}
    )
    assert fitted.faults == ("turned",)


def test_a_plane_is_fishers_of_the_shrunk_covariance_within_both():
    """By another way to the same: whitened, the normal is the difference of the means."""
    right, wrong = embeddings(300, 0), embeddings(200, 1) + np.linspace(-2, 2, FEATURES)
    guard = fit_guard(right, right, 0.5, WITHIN, {"so": wrong})
    one, other = shape_of(right).astype(float), shape_of(wrong).astype(float)
    pooled = (300 * np.cov(one.T, bias=True) + 200 * np.cov(other.T, bias=True)) / 500
    values, vectors = np.linalg.eigh(pooled)
    values = values + 0.3 * values.mean()
    difference = other.mean(axis=0) - one.mean(axis=0)
    expected = vectors @ (vectors.T @ difference / values)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(guard.normals[0], expected, atol=5e-4)
    assert np.linalg.norm(guard.normals[0]) == pytest.approx(1, abs=1e-3)
    assert guard.offsets[0] == pytest.approx(expected @ (0.45 * one.mean(axis=0) + 0.55 * other.mean(axis=0)), abs=1e-3)


def foreign(n, seed):
    """Embeddings of other images: in a quarter of all features, stronger."""
    out = embeddings(n, seed)
    out[:, : FEATURES // 4] *= 4
    return out


def test_synthetic_outliers_lie_a_stated_distance_off_and_the_limit_moves_towards_them():
    known, held_out, nothing = embeddings(800, 0), embeddings(600, 1), foreign(300, 7)
    plain = fit_guard(known, held_out, components=WITHIN)
    guard = fit_guard(known, held_out, components=WITHIN, foreign=nothing)
    added = guard.distance(nothing) - plain.distance(nothing)
    assert added.mean() == pytest.approx(FOREIGN_DISTANCE, rel=0.05)
    assert np.median(guard.distance(known)) < 2
    needed = np.quantile(guard.distance(held_out), 0.99)
    assert guard.limit == pytest.approx(needed + ROOM * (np.quantile(guard.distance(nothing), 0.01) - needed), rel=1e-3)
    assert (guard.distance(foreign(100, 8)) > guard.limit).all()


def test_the_limit_stays_where_synthetic_outliers_are_nearer_than_it():
    known, far = embeddings(800, 0), np.random.default_rng(4).normal(size=(100, FEATURES))
    far = np.concatenate([known, 40 * far])
    guard = fit_guard(known, far, components=WITHIN, foreign=foreign(300, 7))
    assert guard.foreign.size
    assert np.quantile(guard.distance(foreign(300, 7)), 0.01) < guard.limit - 1
    assert guard.limit == pytest.approx(np.quantile(guard.distance(far), 0.99), rel=1e-3)


def test_more_of_a_further_hospital_passes_because_it_lies_off_in_another_direction():
    known, of = hospitals(0.5)
    held_out, nothing = known[::7], foreign(300, 7)
    unseen = embeddings(300, 5) + 1.5 * np.random.default_rng(9).normal(size=FEATURES)
    plain = fit_guard(known, held_out, components=24, sources=of)
    guard = fit_guard(known, held_out, components=24, sources=of, foreign=nothing)
    passes_plain, passes = ((g.distance(unseen) <= g.limit).mean() for g in (plain, guard))
    assert passes > passes_plain + 0.1
    assert (guard.distance(foreign(100, 8)) > guard.limit).all()


def test_images_that_the_network_hardly_distinguishes_change_nothing():
    known, held_out = embeddings(800, 0), embeddings(600, 1)
    plain = fit_guard(known, held_out, components=WITHIN)
    guard = fit_guard(known, held_out, components=WITHIN, foreign=embeddings(300, 7) + 0.05)
    assert guard.to_npz() == plain.to_npz()


def test_a_way_too_long_for_half_precision_is_left_out():
    """Of a network that puts out nearly the same for every image."""
    ordinary = 1 + np.random.default_rng(0).uniform(size=FEATURES)
    known, held_out, nothing = (
        ordinary * (1 + 1e-5 * np.random.default_rng(seed).normal(size=(n, FEATURES)))
        for seed, n in ((1, 400), (2, 100), (3, 300))
    )
    nothing[:, : FEATURES // 2] *= 1 + 1e-4
    plain = fit_guard(known, held_out, components=WITHIN)
    assert fit_guard(known, held_out, components=WITHIN, foreign=nothing).to_npz() == plain.to_npz()
