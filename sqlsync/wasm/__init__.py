"""Reducers in WebAssembly."""
