"""Store: cases -> slices on disk, split, quality, varied copies."""
