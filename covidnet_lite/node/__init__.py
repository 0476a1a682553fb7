"""A DICOM node: X-rays in, results out to a PACS, by way of a queue on disk (extra: ``node``).

A radiograph goes one way: ``receiver`` -> ``queue`` (``inbox``) -> ``worker`` -> ``queue`` (``outbox``) -> ``sender``,
one of each destination. Only the queue touches the disk.
"""
