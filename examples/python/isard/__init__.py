"""Stages of isard in Python: a function or a class with typed ports becomes a stage of a recipe or a job.

    import isard

    @isard.map("my.threshold")
    def threshold(image: isard.Array["u16", "y x"], *, above: float = 10.0) -> {"count": int}:
        "Counts pixels above a limit."
        return {"count": int((image > above).sum())}

`isard run recipe.toml --plugin my.py` finds it. Images arrive as numpy views of memory that isard shares: nothing is
copied, and they cannot be written to. `isard.empty` makes an output that goes back the same way.
"""

from .memory import Table
from .ports import Array, Columns, InputPath, OutputPath
from .stages import POOL, Cancelled, DataError, Skip, Wait, declare

source, map, fold, reduce = declare("source"), declare("map"), declare("fold"), declare("reduce")
fit, writer, task = declare("fit"), declare("writer"), declare("task")
# What a job runs is a task.
job = task


def empty(shape, dtype):
    """A writable array that reaches isard without a copy; write all of it."""
    return POOL.take(shape, dtype)
