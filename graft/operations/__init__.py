"""Whole-volume operations above push and pull."""
