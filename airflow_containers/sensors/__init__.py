"""Sensors for containers."""
