"""What every stage script does around its work: check the parameters, turn a failure into one clear message."""

import gc
import os
import sys
from collections.abc import Callable

from ollamake import params, pins
from ollamake.errors import OllamakeError, of_system
from ollamake.files import dvc_cache, require_writable
from ollamake.orphan import end_with_dvc
from ollamake.params import Schema, StageParams

__all__ = ["StageParams", "run"]


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
    # TRL would tell the hub of every training. Read when huggingface_hub is imported.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # The million objects that the training libraries make when they are imported all stay: looking for garbage among
    # them as often as Python would takes a sixth of the time until the first step.
    gc.set_threshold(10_000)
    try:
        content = params.read()
        params.check(content)
        pins.check()
        # DVC finds it out when the stage has done its work, and then has that done again.
        require_writable(dvc_cache())
        main(params.select(schema, content))
    except OllamakeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        # Non-zero on purpose: DVC records whatever an interrupted stage left as finished if it exits with 0.
        sys.exit(130)
    except Exception as error:
        told = of_system(error)
        if told is None:
            raise
        sys.exit(str(told))
