"""What can be found wrong before the first stage starts, in kinder words than DVC has for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ollamake import params
from ollamake.collect import request
from ollamake.data.formats.reading import chunks
from ollamake.doctor.system import WRITTEN
from ollamake.files import dvc_cache, require_writable
from ollamake.training.launch import refuse_unsuitable
from ollamake.training.quantized import refuse_unable
from ollamake.training.reporters import require_reporter
from ollamake.training.settings import Settings

# Enough to tell a format by; a folder of ten thousand shards is looked through in seconds.
FIRST_BYTES = 1 << 16


def check(content: Mapping[str, Any]) -> None:
    """Raise an OllamakeError for what would stop a build; offline.

    That is: folders that cannot be written, data that is not there, a training that this machine cannot run.
    """
    require_writable(*map(Path, WRITTEN), dvc_cache())
    check_data(content)
    # Light, unless bitsandbytes or several GPUs are asked for.
    settings = params.select(Settings, content)
    require_reporter(settings.report_to)
    refuse_unsuitable(settings)
    refuse_unable(settings)


def check_data(content: Mapping[str, Any]) -> None:
    """Raise DataError where `data_source` is not there, cannot be read, or would be deleted by the build; offline."""
    for source in request.parse(content["data_source"], content["data_files"]):
        for file in source.own_files:
            next(chunks(file, block_bytes=FIRST_BYTES), None)
