"""semcycle: unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation."""

__version__ = "0.1.0"
