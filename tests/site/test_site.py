"""A site's file: what it holds, what it refuses, and what it changes in a network."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sites import NETWORK, network, reference, site

from covidnet_lite.codes import Code
from covidnet_lite.errors import OutputError, SiteError
from covidnet_lite.network import model
from covidnet_lite.site import site as sites


def test_a_site_is_the_same_after_it_was_written_and_read(tmp_path: Path) -> None:
    path = sites.write(tmp_path / "site.json", site())
    assert sites.read(path) == site()
    assert sites.read(path).to_json() == site().to_json()
    assert [p.name for p in tmp_path.iterdir()] == ["site.json"]


def test_what_stood_in_the_file_stays_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "site.json").mkdir()
    with pytest.raises(OutputError):
        sites.write(tmp_path / "site.json", site())
    assert [p.name for p in tmp_path.iterdir()] == ["site.json"]


def test_another_fit_is_another_site() -> None:
    assert site() != site(positive_from=0.81)
    assert site().digest != site(positive_from=0.81).digest
    assert len({site(), site(), site(name="another")}) == 2


WRONG: dict[str, list[Any]] = {
    "format": [None, 2, "1"],
    "name": ["", " ", "a\nb", "x" * 65, "a\\b", 5],
    "network": ["", 3],
    "sha256": ["", "g" * 64, "A" * 64, "a" * 63, 5],
    "negative": ["", None],
    "date": ["yesterday", "2026-13-01", 5, None],
    "radiographs": [0, -1, 1.5, True, "30"],
    "ill": [-1, 1.5, None],
    "shift": [[math.nan, 0, 0], [math.inf, 0, 0], [21, 0, 0], ["1", 0, 0], [True, 0, 0], 5, None],
    "temperature": [0, -1, math.nan, 21, "1", True],
    "negative_from": [0, -0.1, 1.02, math.nan, "0.5", None],
    "positive_from": [0, 1.02, math.inf, True],
    "alone_from": [[], None, {"covid": "0.9"}, {"covid": math.nan}],
    "guard_limit": [0, -1, math.nan, math.inf, "4", True],
    "rates": [{"a": [0.1, 0.2, 0.3]}, {"a": [0.1]}, {"a": [2, 1, 3]}, {"a": [math.nan] * 3}, {"a": 1}, []],
    "reference": [
        None,
        {},
        {**reference().to_dict(), "of": "all"},
        {**reference().to_dict(), "distances": [2, 1]},
        {**reference().to_dict(), "distances": [-1]},
        {**reference().to_dict(), "distances": [math.nan]},
        {**reference().to_dict(), "distances": [1] * 201},
        {**reference().to_dict(), "answers": {"negative": 1}},
        {**reference().to_dict(), "answers": {**reference().answers, "refused": -1}},
        {**reference().to_dict(), "answers": {**reference().answers, "refused": 1.5}},
        {**reference().to_dict(), "more": 1},
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_out_of_range_is_refused(name: str, value: Any) -> None:
    text = json.dumps({**json.loads(site().to_json()), name: value})
    with pytest.raises(SiteError, match="is no site's file") as refused:
        sites.Site.from_json(text, "site.json")
    assert refused.value.code is Code.UNUSABLE_SITE
    assert str(refused.value).startswith("site.json: ")


@pytest.mark.parametrize("name", json.loads(site().to_json()))
def test_a_field_that_is_missing_is_refused(name: str) -> None:
    fields = json.loads(site().to_json())
    del fields[name]
    if name != "ill":  # which has a default
        with pytest.raises(SiteError, match="is no site's file"):
            sites.Site.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "text", ["", "[]", "5", "{", '"x"', "[" * 100_000, b"\xff\xfe", '{"format": 1, "name": 1e999}']
)
def test_what_is_no_site_is_refused(text: str | bytes) -> None:
    with pytest.raises(SiteError, match="is no site's file"):
        sites.Site.from_json(text)


def test_a_file_that_is_missing_or_too_large_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, "a\0b"):
        with pytest.raises(SiteError, match="cannot be read"):
            sites.read(path)
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (sites.MAX_BYTES + 1))
    with pytest.raises(SiteError, match="larger than 1 MB"):
        sites.read(large)


def test_a_network_answers_by_the_sites_shift_thresholds_and_limit() -> None:
    manifest, here = network().manifest, site(guard_limit=7.0, temperature=1.5)
    applied = here.applied(manifest, network().sha256)
    point, guard = applied.operating_point, applied.guard
    assert point is not None
    assert guard is not None
    assert applied.correction == pytest.approx([manifest.correction[0] - 1, *manifest.correction[1:]])
    assert (point.negative_from, point.positive_from, guard.limit) == (0.55, 0.8, 7.0)
    assert (applied.temperature, point.alone_from) == (1.5, {"pneumonia": 0.3, "covid": 0.9})
    assert point.track_record(("normal",)) is None  # of another operating point


def test_a_site_of_another_network_is_refused() -> None:
    other = model.load("base")
    with pytest.raises(SiteError, match=rf"was fitted for {NETWORK} .* not for base"):
        site().applied(other.manifest, other.sha256)


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": (1.0, 0.0)},
        {"shift": ()},
        {"negative": "covid"},
        {"alone_from": {"covid": 0.9}},
        {"alone_from": {"pneumonia": 1.5, "covid": 0.9}},
        {"negative_from": 0.1, "positive_from": 0.1},
        {"guard_limit": None},
    ],
)
def test_a_site_that_does_not_fit_the_networks_classes_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SiteError, match="does not fit nano"):
        site(**changes).applied(network().manifest, network().sha256)


def test_a_network_without_an_operating_point_takes_no_site() -> None:
    plain = replace(network().manifest, operating_point=None, extent=None)
    with pytest.raises(SiteError, match="does not fit"):
        site().applied(plain, network().sha256)
