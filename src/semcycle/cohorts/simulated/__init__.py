"""Simulated cohorts: phantoms and BrainWeb scans, the part of the cohorts that knows pixels."""
