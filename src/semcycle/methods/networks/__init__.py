"""Networks as plain modules: they know neither data nor losses, and are built by name."""

from semcycle.methods.networks.blocks import NORMS, init_weights, make_norm
from semcycle.methods.networks.factory import DISCRIMINATORS, GENERATORS, build_discriminator, build_generator
from semcycle.methods.networks.unet import UNet

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "NORMS",
    "UNet",
    "build_discriminator",
    "build_generator",
    "init_weights",
    "make_norm",
]
