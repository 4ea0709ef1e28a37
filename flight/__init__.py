"""What flies: executive, services, space link, kernels."""

__version__ = "0.1.0"
