"""How the model is to be served: what params.yaml says of it, and the model that comes of it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from ollamake.base import RECORD
from ollamake.files import read_json
from ollamake.ollama.modelfile import ModelfileText
from ollamake.ollama.names import ModelName
from ollamake.ollama.served import ServedModel, served_model
from ollamake.params import StageParams

GGUF, EXPORT = Path("models/gguf"), Path("models/export")
RECEIPT = EXPORT / "receipt.json"


class Settings(StageParams):
    """The name in the server, the system prompt, and the parameters of the Modelfile."""

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
    def _leaves_room_for_the_prompt(self) -> "Settings":
        if self.ollama_num_predict >= self.ollama_num_ctx:
            raise ValueError("ollama_num_predict must be below ollama_num_ctx: the prompt needs room, too")
        return self


def model_to_serve(settings: Settings) -> ServedModel:
    """Return the converted model as it is to be served. Raises as `served_model` does."""
    parameters = settings.model_dump(exclude={"ollama_model", "system_prompt"})
    return served_model(
        settings.ollama_model,
        GGUF,
        relative_to=EXPORT,
        system=settings.system_prompt,
        license_name=read_json(RECORD)["license"],
        parameters={key.removeprefix("ollama_"): value for key, value in parameters.items()},
    )
