"""The one thing pyproject.toml cannot say: how the kernels are built."""

from setuptools import setup

setup(cffi_modules=["flight/kernels/build.py:ffibuilder"])
