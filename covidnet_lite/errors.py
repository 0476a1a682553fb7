"""Everything this package raises on purpose, as one family.

Catch :class:`CovidNetLiteError` to catch them all. Each message says what was
wrong, where, and what to do about it.
"""


class CovidNetLiteError(Exception):
    """Base of every error that covidnet_lite, convert and training raise on purpose."""


class InputError(CovidNetLiteError):
    """What was given is not a readable radiograph: missing, damaged, of a foreign format, empty."""


class ModelError(CovidNetLiteError):
    """A ``.tflite`` is missing, damaged, has no manifest, or its manifest contradicts its graph."""


class BackendError(CovidNetLiteError):
    """No TFLite runtime is installed, or the one asked for cannot run the model."""


class MissingExtraError(CovidNetLiteError):
    """A feature needs an optional dependency that is not installed; the message names the extra."""


class DatasetError(CovidNetLiteError):
    """A manifest or folder of radiographs cannot be used as it is."""


class ConversionError(CovidNetLiteError):
    """A network cannot be converted, or the result misses its bar."""


class OutputError(CovidNetLiteError):
    """A result cannot be written where it was asked for."""


class SettingsError(CovidNetLiteError):
    """A page or a node cannot run as it is asked to: a setting is missing, unknown or impossible."""


class QueueFullError(OutputError):
    """A queue on disk holds as much as it may; what was given is not in it."""


class UnforeseenError(CovidNetLiteError):
    """Work on one radiograph failed in a way that nobody foresaw.

    Attributes:
        reference: under which the log has the traceback.
        trace: the traceback, without the exceptions' own words.
    """

    def __init__(self, message: str, reference: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.reference, self.trace = reference, trace


class NotAChestRadiograph(InputError):
    """A readable DICOM file whose own header says it is no frontal chest radiograph."""
