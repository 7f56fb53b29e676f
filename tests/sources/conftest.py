"""Several tests use transformers and torchvision by themselves; torchvision must be importable before."""

from headstart.sources.torchvision_compat import heal

heal()
