"""Segments: the format, writing, reading and fetching of frames of compressed pages."""
