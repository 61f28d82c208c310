"""Training: the loop, the batches it draws, its resume file and its logs."""

from semcycle.training.log import Epoch, Observer
from semcycle.training.loop import Hardware, train

__all__ = ["Epoch", "Hardware", "Observer", "train"]
