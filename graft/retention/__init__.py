"""Retention: which versions a remote keeps, garbage collection, and volumes as things to measure, copy and remove."""
