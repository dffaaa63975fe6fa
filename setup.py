"""What pyproject.toml cannot say: a wheel is built in a temporary folder.

In ``build/`` setuptools would keep what it has built before, and pack it into the next wheel.
"""

import tempfile

import setuptools

with tempfile.TemporaryDirectory() as folder:
    setuptools.setup(options={"build": {"build_base": folder}})
