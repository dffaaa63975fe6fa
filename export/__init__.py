"""Export: a trained network as a folder of model files that run without TensorFlow, each proven equal to it.

``ntm.export`` is this package and a function: ``ntm.export(run, folder)`` exports a trained network.
"""

import sys
import types
from typing import Any


class _CallableModule(types.ModuleType):
    """A package that can be called like the function ``ntm.api.export``.

    The import of a module of this package replaces the function ``ntm.export`` by the package.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from ntm.api import export  # noqa: PLC0415

        return export(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
