"""Placeholder: another person (helper 6) is writing this file now; leave it."""
