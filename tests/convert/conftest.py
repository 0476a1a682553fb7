"""What several tests of ``convert`` share."""

from __future__ import annotations

import pytest
from float_networks import known, of_keras, plain

from convert.quantisation import activations
from convert.source.network import FloatNetwork


@pytest.fixture(scope="module")
def net() -> FloatNetwork:
    return of_keras(plain())


@pytest.fixture(scope="module")
def recorded(net: FloatNetwork) -> activations.Activations:
    return known(net)
