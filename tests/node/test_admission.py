"""Which radiographs the rules admit."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest

from covidnet_lite.node import admission
from covidnet_lite.node.settings import Rule


def header(**elements: Any) -> Any:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


CHEST = header(StationName="Room 1", BodyPartExamined="THORAX", ViewPosition="PA", Modality="DX")
HAND = header(StationName="ROOM 2", BodyPartExamined="HAND", Modality="CR")
BARE = header(Modality="CR")


@pytest.mark.parametrize(
    ("rules", "admitted"),
    [
        ([], (True, True, True)),
        ([Rule()], (True, True, True)),
        ([Rule(stations=("ROOM 1",))], (True, False, False)),
        ([Rule(stations=("room*",))], (True, True, False)),
        ([Rule(stations=("",))], (False, False, True)),
        ([Rule(body_parts=("CHEST",))], (True, False, False)),
        ([Rule(body_parts=("Thorax", ""))], (True, False, True)),
        ([Rule(views=("PA", "AP"))], (True, False, False)),
        ([Rule(ae_titles=("XRAY1",))], (True, True, True)),
        ([Rule(ae_titles=("XRAY2",))], (False, False, False)),
        ([Rule(stations=("ROOM 2",), body_parts=("CHEST",))], (False, False, False)),  # all of a rule
        ([Rule(stations=("ROOM 2",)), Rule(body_parts=("CHEST",))], (True, True, False)),  # or all of another
    ],
)
def test_a_rule_admits_what_meets_all_of_its_lists(rules: list[Rule], admitted: tuple[bool, ...]) -> None:
    assert tuple(admission.admits(rules, one, "XRAY1") for one in (CHEST, HAND, BARE)) == admitted


def test_a_station_that_cannot_be_read_is_none() -> None:
    odd = header(Modality="CR")
    odd.add_new(0x00081010, "SQ", [pydicom.Dataset()])
    assert not admission.admits([Rule(stations=("ROOM*",))], odd, "XRAY1")
