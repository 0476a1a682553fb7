"""The kinds of radiographs and results that a node takes and sends, and how their pixels may be stored."""

from __future__ import annotations

from importlib.util import find_spec

from pydicom import uid
from pydicom.pixels import get_decoder
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

from ..image_in import jpeg

RADIOGRAPHS = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage)
RESULTS = {"SR": ComprehensiveSRStorage, "SC": SecondaryCaptureImageStorage}
UNCOMPRESSED = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
COMPRESSED = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.RLELossless,
)


def transfer_syntaxes() -> list[str]:
    """What is installed here can decode, so that a modality converts instead of sending in vain."""
    ours = jpeg.SYNTAXES if find_spec("imagecodecs") else ()
    return [*UNCOMPRESSED, *(syntax for syntax in COMPRESSED if syntax in ours or get_decoder(syntax).is_available)]
