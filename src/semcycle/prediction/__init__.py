"""Prediction: a scan -> anomaly map, mask, and the rest on its own grid."""
