"""Operators for hosted sandbox containers."""
