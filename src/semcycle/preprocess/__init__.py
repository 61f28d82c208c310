"""Steps from a scan to working slices: decide, apply, record, invert."""
