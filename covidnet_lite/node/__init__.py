"""A DICOM node: X-rays in, results out to a PACS, by way of a queue on disk (extra: ``node``).

A film goes one way: ``receiver`` -> ``queue`` -> ``worker`` -> ``queue`` -> ``sender``.
Only the queue touches the disk.
"""
