"""What is to be served: the files that convert wrote, the Modelfile made of them, and the proof they have to pass."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ollamake.errors import ConversionError, ParamsError
from ollamake.files import atomic_write, read_json
from ollamake.ollama.modelfile import Modelfile, Parameter
from ollamake.ollama.names import listed_name

Message = dict[str, str]  # as in ollamake.chat, which would bring Jinja into every run of export

TRIAL, TRIAL_DIGITS = "-try-", 5  # together no longer than what ollamake.ollama.names leaves for them


class Serving(BaseModel):
    """models/gguf/serving.json: the GGUF to serve, its sha256, and the stop tokens that end an answer."""

    model_config = ConfigDict(frozen=True)
    gguf: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int
    quantization: str
    stops: list[str]


class Prompt(BaseModel):
    """One conversation of the proof, as training saw it, and what the GGUF itself answered, greedily.

    `rendered` and `token_ids` hold the prompt up to where the answer begins; `stopped` tells that the answer ended with
    a stop token, before `max_new_tokens`.
    """

    model_config = ConfigDict(frozen=True)
    messages: list[Message]
    rendered: str
    token_ids: list[int]
    answer: str
    stopped: bool


class Proof(BaseModel):
    """models/gguf/proof.json: how the GGUF behaves in the embedded runtime, so how the server has to."""

    model_config = ConfigDict(frozen=True)
    max_new_tokens: int
    prompts: list[Prompt] = Field(min_length=1)  # a proof of nothing would pass


@dataclass(frozen=True)
class ServedModel:
    """A model as it is to be served: `name` in the server (model:tag), the GGUF on disk, the Modelfile, the proof.

    `written_name` is the name as it stands in params.yaml.
    """

    written_name: str
    name: str
    gguf: Path
    serving: Serving
    modelfile: Modelfile
    proof: Proof

    @property
    def candidate(self) -> str:
        """The tag under which it is built and proved before it takes its name: another model's is another one.

        So two exports under one name cannot give it what the other has not proved yet.
        """
        return f"{self.name}{TRIAL}{self.key[:TRIAL_DIGITS]}"

    @property
    def key(self) -> str:
        """The sha256 of everything that decides what is served and what it has to prove."""
        parts = [self.serving.sha256, self.modelfile.commands(), self.proof.model_dump()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def served_model(
    name: str, folder: Path, *, relative_to: Path, system: str, license_name: str, parameters: Mapping[str, Parameter]
) -> ServedModel:
    """Read models/gguf (`folder`) and add what params.yaml says; `relative_to` is the folder of the Modelfile.

    Raises ConversionError for a folder that convert left incomplete, ParamsError for a `num_ctx` below what the proof
    takes.
    """
    try:
        serving = Serving.model_validate(read_json(folder / "serving.json"))
        proof = Proof.model_validate(read_json(folder / "proof.json"))
        template = (folder / "template.gotmpl").read_text(encoding="utf-8")
        size_bytes = (folder / serving.gguf).stat().st_size
    except (OSError, ValueError, ValidationError) as error:
        raise _incomplete(folder, str(error)) from error
    if size_bytes != serving.size_bytes:
        raise _incomplete(folder, f"{serving.gguf} has {size_bytes:,} bytes, convert wrote {serving.size_bytes:,}")
    _require_room(proof, parameters)
    modelfile = Modelfile(
        gguf=os.path.relpath(folder / serving.gguf, relative_to),
        template=template,
        system=system,
        license=license_name,
        parameters={"stop": serving.stops, **parameters},
    )
    return ServedModel(name, listed_name(name), folder / serving.gguf, serving, modelfile, proof)


def _require_room(proof: Proof, parameters: Mapping[str, Parameter]) -> None:
    needed = max(len(prompt.token_ids) for prompt in proof.prompts) + proof.max_new_tokens
    given = parameters["num_ctx"]
    if isinstance(given, int) and given < needed:
        raise ParamsError(
            f"ollama_num_ctx is {given}, but the longest prompt of the proof takes {needed} tokens with its answer",
            where="params.yaml",
            hint=f"set ollama_num_ctx to {needed} or more, then `dvc repro`",
        )


def write_modelfile(path: Path, modelfile: Modelfile) -> None:
    """Write the Modelfile unless it is there already. Raises ConversionError where its grammar cannot carry a value."""
    text = modelfile.render()
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic_write(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")


def _incomplete(folder: Path, why: str) -> ConversionError:
    return ConversionError(
        f"the converted model is not complete: {why}",
        where=str(folder),
        hint="`python -m ollamake verify` names what is damaged and what mends it; or "
        "`dvc repro --force --single-item convert`",
    )
