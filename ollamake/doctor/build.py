"""What a build starts from: parameters, data, the base model and the converter that its kind needs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ollamake import params, preflight
from ollamake.base import RECORD, Base, open_base, store
from ollamake.doctor.finding import SkippedError, Verdict, failure, fine, named
from ollamake.doctor.subject import Subject
from ollamake.resolve.catalog import find, read_catalog
from ollamake.resolve.hub import HubModel, HubUnreachableError, describe
from ollamake.resolve.request import parse
from ollamake.resolve.source import Record, Source

PATIENCE = ("--timeout", "5", "--retries", "0")


def parameters(_: Subject) -> Verdict:
    """Check the whole of params.yaml as the stages do."""
    content = params.read()
    params.check(content)
    return fine(f"{len(content)} parameters, every one of its type and known to a stage")


def data(subject: Subject) -> Verdict:
    """Look at every data file from outside, and at its first bytes."""
    from ollamake.collect import request

    preflight.check_data(subject.content)
    sources = request.parse(subject.content["data_source"], subject.content["data_files"])
    files = [file for source in sources for file in source.own_files]
    name = subject.content["data_source"]
    if files:
        size = sum(file.stat().st_size for file in files)
        return fine(f"{name}: {len(files)} file{'s' if len(files) > 1 else ''}, {size / 1e6:,.1f} MB")
    if Path("data/raw").is_dir():
        return fine(f"{name}: collected already")
    packages = [package for source in sources for package in _missing_packages(source.content)]
    if packages and (trouble := index_trouble(packages[0])):
        return failure(
            f"{name} takes {named(packages)} from the package index: {trouble}",
            "`python -m pip config list` shows which index pip asks; or name a file of your own in data_source",
        )
    whence = "the package index, which answers" if packages else "the hub: `collect` needs a network"
    return fine(f"{name} takes its rows from {whence}")


def _missing_packages(content: Any) -> list[str]:
    """Return the names of the packages of a recipe that are not in the store's downloads yet."""
    from ollamake.collect.packages import Packages

    if not isinstance(content, Packages):
        return []
    files = {package.name: package.requirement.replace("==", "-") for package in content.recipe.packages}
    return [name for name, file in files.items() if not any((store() / "downloads").glob(f"{file}-*.tar.gz"))]


def training(subject: Subject) -> Verdict:
    """Check that this machine can run what the settings ask for: GPUs, bitsandbytes, compilers, reporters."""
    from ollamake.training import kernels, launch, quantized, reporters

    settings = subject.settings
    reporters.require_reporter(settings.report_to)
    launch.refuse_unsuitable(settings)
    quantized.refuse_unable(settings)
    if settings.torch_compile or settings.liger_kernel:
        kernels.refuse_kernels(settings, _base().config["model_type"])
    return fine(f"{settings.task} with {settings.method}: this machine can run it")


def base_model(subject: Subject) -> Verdict:
    """Look for the base model in the store, else ask for it where it comes from; nothing is downloaded."""
    wanted = subject.content["base_model"]
    source = parse(
        wanted,
        subject.content["base_model_revision"],
        read_catalog(),
        Path(os.environ.get("DVC_ROOT", ".")),
        needs_template=subject.content["chat_template"] == "model",
    )
    if RECORD.is_file():
        base = open_base()
        if _is_pinned(source, base.record):
            return fine(f"{wanted} is in the store, {base.weights_bytes / 1e9:.1f} GB, as {RECORD} pins it")
    return _remote(source) if isinstance(source, HubModel) else fine(f"{wanted} is on this machine")


def _is_pinned(source: Source, record: Record) -> bool:
    """Tell whether models/base.json is of this source; for the hub, at this commit or from the wheel for it."""
    if not isinstance(source, HubModel):
        return bool(record["name"] == source.name)
    wheel = f"sha256:{source.wheel.sha256}" if source.wheel else ""
    return record["name"] == source.name and (source.revision is None or record["revision"] in (source.revision, wheel))


def conversion(subject: Subject) -> Verdict:
    """Check that architecture and tokenizer are known to llama.cpp's converter, before anything is trained."""
    from ollamake.resolve.conversion import check_convertible
    from ollamake.resolve.safety import check_architecture

    wanted = subject.content["base_model"]
    try:
        base = _base()
    except SkippedError:
        entry = find(wanted, read_catalog())
        if entry is None:
            raise SkippedError(f"the architecture of {wanted} is known once it was fetched") from None
        check_architecture([entry[1].architecture], wanted)
        return fine(f"{entry[1].architecture} is supported; its tokenizer is looked at when it is fetched")
    check_architecture([base.record["architecture"]], base.record["name"])
    check_convertible(base.folder)
    return fine(f"{base.record['architecture']}: the converter knows it, and the tokenizer of {base.record['name']}")


def _base() -> Base:
    if not RECORD.is_file():
        raise SkippedError("no base model was fetched yet")
    return open_base()


def _remote(model: HubModel) -> Verdict:
    """Ask the hub, and where that is out of reach the package index, for a model that is not in the store."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return _without_hub(model, "HF_HUB_OFFLINE is set")
    try:
        info = describe(model.hub_id, model.revision)
    except HubUnreachableError as reason:
        return _without_hub(model, str(reason))
    if info.gated and not _token():
        return failure(
            f"{model.hub_id} is given only to those who have accepted its licence, and nobody is logged in",
            f"accept it at https://huggingface.co/{model.hub_id}, then `hf auth login`",
        )
    size = sum(file.size or 0 for file in info.siblings if file.rfilename.endswith(".safetensors"))
    return fine(f"{model.name} is on the hub as {model.hub_id}, {size / 1e9:.1f} GB to download")


def _without_hub(model: HubModel, reason: str) -> Verdict:
    local = f"where there is a network: `hf download {model.hub_id} --local-dir FOLDER`; set base_model to that folder"
    if model.wheel is None:
        return failure(f"{model.name} is not in the store, and the hub is out of reach ({reason})", local)
    file = store() / "downloads" / model.wheel.sha256[:16] / Path(model.wheel.file).name
    if file.is_file():
        return fine(f"the hub is out of reach ({reason}); {model.wheel.requirement} is here in its stead")
    name = model.wheel.requirement.partition("==")[0]
    if trouble := index_trouble(name):
        return failure(f"the hub is out of reach ({reason}), and so is {model.wheel.requirement}: {trouble}", local)
    return fine(f"the hub is out of reach ({reason}); the package index has {model.wheel.requirement} in its stead")


def index_trouble(package: str) -> str:
    """Return what pip, with the user's own settings, says of a package that it cannot find; empty if it finds it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *PATIENCE]
    done = subprocess.run([*command, "index", "versions", package], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return said[-1] if said else f"pip ended with {done.returncode}"


def _token() -> Any:
    from huggingface_hub import get_token

    return get_token()
