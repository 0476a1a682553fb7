"""Everything this package raises on purpose, as one family.

Catch :class:`CovidNetLiteError` to catch them all. Each message says what was
wrong, where, and what to do about it. It may quote a file; ``public`` does not.
"""

from __future__ import annotations

from .codes import Code


class CovidNetLiteError(Exception):
    """Base of every error that covidnet_lite, convert and training raise on purpose.

    Attributes:
        code: what kind of fault it is, for programs.
    """

    code: Code = Code.FAILED

    def __init__(self, message: str = "", code: Code | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code

    @property
    def public(self) -> str:
        """What may leave the machine: words that quote nothing from a file."""
        return self.code.public


class InputError(CovidNetLiteError):
    """A radiograph cannot be read: the file is missing, damaged, empty, or of a format that is not read."""

    code = Code.UNREADABLE


class ModelError(CovidNetLiteError):
    """A ``.tflite`` is missing, damaged, has no manifest, or its manifest contradicts its graph."""

    code = Code.UNUSABLE_NETWORK


class SiteError(CovidNetLiteError):
    """A site cannot be fitted, or its file is missing, damaged, of another version, or for another network."""

    code = Code.UNUSABLE_SITE


class UnsignedNetworkWarning(UserWarning):
    """A network is used that nobody trusted has signed."""


class BackendError(CovidNetLiteError):
    """No TFLite runtime is installed, or the one asked for cannot run the model."""

    code = Code.UNUSABLE_RUNTIME


class NoProcessError(CovidNetLiteError):
    """No process can read radiographs now: memory, limits or the folder for temporary files forbid it."""

    code = Code.NO_PROCESS


class MissingExtraError(CovidNetLiteError):
    """A feature needs an optional dependency that is not installed; the message names the extra."""

    code = Code.MISSING_EXTRA


class DatasetError(CovidNetLiteError):
    """A manifest or folder of radiographs cannot be used as it is."""

    code = Code.UNUSABLE_DATA


class ConversionError(CovidNetLiteError):
    """A network cannot be converted, or the result misses its bar."""

    code = Code.NOT_CONVERTED


class OutputError(CovidNetLiteError):
    """A result cannot be written where it was asked for."""

    code = Code.NOT_WRITTEN


class SettingsError(CovidNetLiteError):
    """A service cannot run as it is asked to: a setting is missing, unknown or impossible."""

    code = Code.WRONG_SETTING


class AddressError(SettingsError):
    """The address of a broker or a host, or what is to be reached there, cannot be used."""


class RecipeError(SettingsError):
    """A recipe for a training cannot be used: it is missing, or a key is missing, unknown or impossible."""


class BenchmarkError(CovidNetLiteError):
    """Speed cannot be measured as it was asked for, or compared with another measurement."""

    code = Code.WRONG_REQUEST


class ReviewError(CovidNetLiteError):
    """A review of an answer contradicts itself, or is too long."""

    code = Code.WRONG_REQUEST


class QueueFullError(OutputError):
    """A queue on disk holds as much as it may; what was given is not in it."""

    code = Code.QUEUE_FULL


class UnforeseenError(CovidNetLiteError):
    """Work on one radiograph failed in a way that nobody foresaw.

    Attributes:
        reference: under which the log has the traceback.
        trace: the traceback, without the exceptions' own words.
    """

    code = Code.UNFORESEEN

    def __init__(self, message: str, reference: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.reference, self.trace = reference, trace

    @property
    def public(self) -> str:
        return f"{self.code.public} (reference {self.reference})"


class NotAChestRadiograph(InputError):
    """A readable DICOM file whose own header says it is no frontal chest radiograph."""

    code = Code.OTHER_EXAMINATION
