"""Runs reducers written as WebAssembly modules."""
