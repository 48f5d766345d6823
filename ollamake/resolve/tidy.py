"""One shape for every base model, whatever release of whichever tool wrote it."""

from pathlib import Path
from typing import Any

from ollamake.files import write_json
from ollamake.resolve.computable import within_window
from ollamake.resolve.safety import load
from ollamake.resolve.source import say
from ollamake.resolve.template import FILE, own_template

# Facts about the machine that wrote the file, and code that is never run.
LEAKS = {"_model_name_or_path", "_name_or_path", "name_or_path", "is_local", "local_files_only", "auto_map"}
# tokenizer.json is the whole truth. A class such as GPT2Tokenizer makes transformers 5 put its own splitter in place
# of the one in tokenizer.json: for SmolLM2 that joins digits which the vocabulary keeps apart.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"


def tidy(folder: Path, *, needs_template: bool = True) -> None:
    """Bring the small files of `folder` into the form that every later stage expects.

    The chat template goes to chat_template.jinja, generation_config.json is made where there is none, traces of the
    machine are removed, a context ends where a sliding window does that llama.cpp lacks. Raises BaseModelError when
    there is no chat template; without `needs_template` it goes, for nobody has tried it out.
    """
    config, tokenizer = load(folder / "config.json"), load(folder / "tokenizer_config.json")
    if needs_template:
        template = own_template(folder, tokenizer, str(folder))
        (folder / FILE).write_text(template, encoding="utf-8", newline="")
    else:
        (folder / FILE).unlink(missing_ok=True)
    tokenizer.pop("chat_template", None)
    write_json(folder / "tokenizer_config.json", {**_without_leaks(tokenizer), "tokenizer_class": TOKENIZER_CLASS})
    bounded = within_window(config)
    if bounded != config:
        say(f"its context ends with its sliding window, at {bounded['sliding_window']} tokens: llama.cpp has no window")
    write_json(folder / "config.json", _without_leaks(bounded))
    generation = folder / "generation_config.json"
    if generation.is_file():
        content = load(generation)
    else:
        content = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in config}
    write_json(generation, {key: value for key, value in content.items() if key != "_from_model_config"})
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes 0600, which no other user of a shared store could read


def _without_leaks(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in LEAKS}
