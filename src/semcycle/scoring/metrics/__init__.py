"""Metrics: arrays and counts in, numbers out; no case and no file is known here."""
