"""Torch maths that knows no residue."""
