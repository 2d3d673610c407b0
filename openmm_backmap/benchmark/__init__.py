"""Measuring and showing what the package does."""
