"""What every stage script does around its work: check the parameters, turn a failure into one clear message."""

import errno
import gc
import os
import sys
from collections.abc import Callable

from ollamake import params, pins
from ollamake.errors import DiskError, OllamakeError
from ollamake.orphan import end_with_dvc
from ollamake.params import Schema, StageParams

__all__ = ["StageParams", "run"]

FULL = (errno.ENOSPC, errno.EDQUOT)


def run(schema: type[Schema], main: Callable[[Schema], None]) -> None:
    """Call `main` with the stage's parameters; exit with 1 and a message on a failure that a person can act on.

    The whole of params.yaml is checked first, the keys of later stages too: a mistyped training parameter is named
    before the data is prepared, not after.
    """
    end_with_dvc()
    # How long a thread spins before it sleeps. Without an end, two busy cores become ten times slower; with none at
    # all, two idle ones lose a third. Read when the OpenMP runtime loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # oneDNN keeps machine code for every shape of a product that it has met, and no two batches of a training have the
    # same number of tokens: 20 MB a step. What a step needs again within itself fits into an eighth.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    # The million objects that the training libraries make when they are imported all stay: looking for garbage among
    # them as often as Python would takes a sixth of the time until the first step.
    gc.set_threshold(10_000)
    try:
        content = params.read()
        params.check(content)
        pins.check()
        main(params.select(schema, content))
    except OllamakeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        # Non-zero on purpose: DVC records whatever an interrupted stage left as finished if it exits with 0.
        sys.exit(130)
    except Exception as error:
        if not _says_full(error):
            raise
        where = str(getattr(error, "filename", None) or "")
        sys.exit(str(DiskError("the disk is full", where=where, hint="free some space, then run `dvc repro` again")))


def _says_full(error: BaseException) -> bool:
    """Tell whether a full disk is behind it; safetensors and numpy wrap the error in others of their own."""
    number = getattr(error, "errno", None)
    wrapped = any(f"(os error {code})" in str(error) for code in FULL)
    return number in FULL or wrapped or (error.__cause__ is not None and _says_full(error.__cause__))
