"""Chest X-rays -> normal / pneumonia / covid, on small offline machines.

    import covidnet_lite
    print(covidnet_lite.classify("xray.png"))

Research use only; not a medical device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    BackendError,
    CovidNetLiteError,
    InputError,
    MissingExtraError,
    ModelError,
    NotAChestRadiograph,
    OutputError,
    SettingsError,
    SiteError,
    UnforeseenError,
    UnsignedNetworkWarning,
)

if TYPE_CHECKING:
    from .classifier import Classifier, classify
    from .prediction import Failure, Prediction
    from .site.site import Site

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Classifier",
    "CovidNetLiteError",
    "Failure",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "NotAChestRadiograph",
    "OutputError",
    "Prediction",
    "SettingsError",
    "Site",
    "SiteError",
    "UnforeseenError",
    "UnsignedNetworkWarning",
    "classify",
]

# Imported on first use, so that `import covidnet_lite` costs nothing.
_LAZY = {
    "Classifier": "classifier",
    "classify": "classifier",
    "Prediction": "prediction",
    "Failure": "prediction",
    "Site": "site.site",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
