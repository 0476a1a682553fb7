"""DICOM files in (extra: ``dicom``): what was examined, and its pixels in 8 bits."""
