"""Serve the model with Ollama, and prove it again there."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ollamake.errors import OllamakeError
from ollamake.files import read_json
from ollamake.ollama.address import server_address, why_silent
from ollamake.ollama.deploy import postpone, serve
from ollamake.ollama.modelfile import ModelfileText
from ollamake.ollama.names import ModelName
from ollamake.ollama.receipt import Proved
from ollamake.ollama.served import ServedModel, served_model, write_modelfile
from ollamake.stage import StageParams, run

BASE, GGUF, EXPORT = Path("models/base.json"), Path("models/gguf"), Path("models/export")
GATE = Path("metrics/gate.json")
MODELFILE, RECEIPT = EXPORT / "Modelfile", EXPORT / "receipt.json"


class Params(StageParams):
    ollama_min_p: Annotated[float, Field(ge=0, le=1)]
    ollama_model: ModelName
    ollama_num_ctx: PositiveInt
    ollama_num_predict: PositiveInt
    ollama_repeat_penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    ollama_seed: NonNegativeInt
    ollama_temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    ollama_top_k: NonNegativeInt
    ollama_top_p: Annotated[float, Field(gt=0, le=1)]
    system_prompt: ModelfileText

    @model_validator(mode="after")
    def _leaves_room_for_the_prompt(self) -> "Params":
        if self.ollama_num_predict >= self.ollama_num_ctx:
            raise ValueError("ollama_num_predict must be below ollama_num_ctx: the prompt needs room, too")
        return self


def model_to_serve(params: Params) -> ServedModel:
    settings = params.model_dump(exclude={"ollama_model", "system_prompt"})
    return served_model(
        params.ollama_model,
        GGUF,
        relative_to=EXPORT,
        system=params.system_prompt,
        license_name=read_json(BASE)["license"],
        parameters={key.removeprefix("ollama_"): value for key, value in settings.items()},
    )


def main(params: Params) -> None:
    if Path(os.environ.get("DVC_ROOT", ".")).resolve() != Path.cwd().resolve():
        print(
            "not served: a trial must not replace the model in use; `dvc exp apply NAME && dvc repro` serves this one"
        )
        return
    if not read_json(GATE)["passed"]:  # `dvc repro` stops at the gate, --single-item goes past it
        raise OllamakeError("the gate is closed, so nothing is served", where=str(GATE), hint="`dvc repro` tells why")
    model = model_to_serve(params)
    write_modelfile(MODELFILE, model.modelfile)
    address = server_address()
    if why := why_silent(address):
        reason = f"no Ollama server at {address.url} ({why})"
        postpone(model, RECEIPT, reason)
        print(f"not served: {reason}")
        print(f"the model is complete in {model.gguf}; once Ollama runs, `dvc repro export` serves and proves it")
        print(f"or by hand, unproved: ollama create {params.ollama_model} -f {MODELFILE}")
        return
    from ollamake.ollama.http_server import HttpServer  # httpx loads here

    with HttpServer(address) as server:
        _say_served(params.ollama_model, *serve(server, model, RECEIPT))


def _say_served(name: str, proved: Proved, changed: bool) -> None:
    place = f"by Ollama {proved.version} at {proved.server}"
    if changed:
        checks = "".join(f"  {check}: {count}\n" for check, count in proved.checks.items())
        print(f"{name} is served {place}; proved there:\n{checks}try it: ollama run {name}")
    else:
        print(f"{name} is served {place}, proved and unchanged")


if __name__ == "__main__":
    run(Params, main)
