"""Segments: frames of compressed pages, their format, writing, reading and fetching."""
