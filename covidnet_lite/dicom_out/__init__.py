"""Results as DICOM (extra: ``dicom-out``): a Structured Report and a Secondary Capture."""
