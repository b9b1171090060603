"""Coordinators: they apply each mutation once, in one order for all."""
