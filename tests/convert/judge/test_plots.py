from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any, cast

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from convert.judge import plots
from convert.judge.agreement import Agreement
from convert.judge.candidate import Candidate
from convert.quantisation.layers import Layer
from covidnet_lite.errors import MissingExtraError

LAYERS = [
    Layer("stem", "a", "CONV_2D", 40.0, (0.0, 6.0), (-1.0, 1.0), (0.5, 1.0)),
    Layer("block13_expand_relu", "b", "DEPTHWISE_CONV_2D", 9.0, (-3.0, 60.0), (-2.0, 5.0), (0.0, 5.0)),
    Layer(r"block2_$\add$", "c", "ADD", -2.0, (-8.0, 8.0)),
    Layer("logits", "d", "MEAN", 300.0, (0.0, 0.0)),
    Layer("dead", "e", "MEAN", -300.0, (0.0, 0.0)),
]


def candidate(scheme: str, megabytes: float, times: float, right: int | None = 79, labelled: int = 100) -> Candidate:
    """One of a given size, so many times as slow as float and right on so many of 100 images."""
    agreement = None if right is None else Agreement(100, right / 100, 0.01, labelled, 79, right, 1, 1, ())
    model = cast(Any, SimpleNamespace(data=bytes(int(megabytes * 1e6))))
    return Candidate(scheme, model, agreement, None, 10 * times, 10.0)


def several(**kwargs: Any) -> list[Candidate]:
    result = [
        ("float32", 13.5, 1.0),
        ("int8", 4.1, 0.5),
        ("int16", 4.2, 40.0),
        ("float16", 6.8, 1.0),
        ("dynamic", 3.9, 2),
    ]
    return [candidate(*one, **kwargs) for one in result]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever is written into the axes."""
    texts: list[str] = []

    def noted(method: str) -> None:
        plain = getattr(Axes, method)

        def note(*args: Any, **kwargs: Any) -> Any:
            texts.extend(str(a) for a in args if isinstance(a, str))
            return plain(*args, **kwargs)

        monkeypatch.setattr(Axes, method, note)

    for method in ("text", "annotate", "set_title", "set_ylabel", "set_xlabel"):
        noted(method)
    return texts


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Whatever is made into a PNG."""
    result: list[Figure] = []
    png = plots.png
    monkeypatch.setattr(plots, "png", lambda figure: result.append(figure) or png(figure))
    return result


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_there_is_a_picture_of_the_schemes_and_two_of_the_layers() -> None:
    images = plots.draw(several(), LAYERS)
    assert list(images) == [plots.SCHEMES, "layers.png", "ranges.png"]
    for png in images.values():
        image = pixels(png)
        assert min(image.shape[:2]) > 300
        assert tuple(image[0, 0]) == (255, 255, 255)
        assert 0.005 < (image < 255).any(axis=2).mean() < 0.6
    assert list(plots.draw(several(), [])) == [plots.SCHEMES]


def test_the_same_input_gives_the_same_bytes_and_leaves_the_settings_alone() -> None:
    before = dict(matplotlib.rcParams)
    images = plots.draw(several(), LAYERS)
    assert images == plots.draw(several(), LAYERS)
    assert plots.draw(several(right=80), []) != {plots.SCHEMES: images[plots.SCHEMES]}
    assert dict(matplotlib.rcParams) == before
    assert b"matplotlib" not in b"".join(images.values()).lower()


@pytest.mark.parametrize("name", ["matplotlib", "matplotlib.figure"])
def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'covidnet-lite\[convert\]'"):
        plots.draw(several(), [])


def test_only_what_is_not_dominated_is_filled(figures: list[Figure], written: list[str]) -> None:
    plots.draw([candidate("int8", 4.1, 0.5), candidate("int16", 4.2, 40)], [])
    faces = [to_hex(marker.get_facecolor()[0]).upper() for marker in figures[0].axes[0].collections]
    assert faces == ["#FFFFFF", plots.COLOURS["int8"]]
    assert {"int8, 4.1 MB", "int16, 4.2 MB\ndominated"} <= set(written)


@pytest.mark.parametrize(
    ("kwargs", "label"),
    [({}, "accuracy"), ({"labelled": 0}, "top-1 agreement with float"), ({"right": None}, "file size (MB)")],
)
@pytest.mark.parametrize("count", [2, 5])
def test_what_was_measured_is_what_is_drawn(written: list[str], kwargs: dict[str, Any], label: str, count: int) -> None:
    image = pixels(plots.draw(several(**kwargs)[:count], [])[plots.SCHEMES])
    assert label in written
    assert ("accuracy" in written) == (label == "accuracy")
    assert (image < 255).any(axis=2).mean() > 0.005


def test_names_lie_inside_and_do_not_lie_on_each_other(figures: list[Figure]) -> None:
    plots.draw(several(), [])
    axes = figures[0].axes[0]
    boxes = [text.get_window_extent().extents for text in axes.texts if " MB" in text.get_text()]
    assert len(boxes) == 5
    for i, (left, bottom, right, top) in enumerate(boxes):
        for other in boxes[:i]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom
    window = axes.get_window_extent().extents
    assert all((box[:2] >= window[:2]).all() and (box[2:] <= window[2:]).all() for box in boxes)


def test_sizes_below_a_megabyte_are_told_in_kilobytes(written: list[str]) -> None:
    plots.draw([candidate("int8", 0.052, 0.5), candidate("float32", 0.2, 1)], [])
    assert "int8, 52 kB" in written


def rows(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_the_noisiest_layers_are_on_top_and_the_rest_is_left_out(figures: list[Figure]) -> None:
    many = [Layer(f"l{i}", f"t{i}", "ADD", float(i), (0.0, 1.0)) for i in reversed(range(40))]
    plots.draw(several(), many)
    assert rows(figures[1].axes[0]) == [f"l{i}" for i in range(20)]
    assert rows(figures[2].axes[0]) == [f"l{i}" for i in range(10)]


def test_ranges_are_told_with_the_spread_of_the_channels(written: list[str]) -> None:
    plots.draw(several(), LAYERS)
    assert {"−3 to 60", "−1 to 1; 2×", "−2 to 5; one is 0", "no weights", "−2.0", "exact"} <= set(written)


def test_long_names_keep_both_ends(figures: list[Figure]) -> None:
    name = "functional_1/a_network_with_a_long_name/block13_expand_relu"
    plots.draw(several(), [Layer(name, "a", "ADD", 1.0, (0.0, 1.0))])
    (short,) = rows(figures[1].axes[0])
    assert len(short) <= 41
    assert short.startswith("functional_1")
    assert short.endswith("block13_expand_relu")
