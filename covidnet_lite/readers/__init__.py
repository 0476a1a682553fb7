"""Radiographs read in processes of their own, for services."""
