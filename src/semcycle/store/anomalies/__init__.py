"""Synthetic anomalies: lesions drawn into prepared scans in 3-D, and harmless things that look like lesions.

``shapes`` says where a lesion is, ``lesions`` what it looks like and of which kinds there are, ``confounders`` what
must not be taken for one, ``acquisition`` which scanner sees it all, and ``drawing`` puts the four together.
Everything is a function of a random generator; lengths are in mm.
"""
