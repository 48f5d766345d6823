"""A small workspace as convert leaves it: models/gguf with a real GGUF, its template and the proof of its behaviour."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ollamake.chat import ChatTemplate, with_system
from ollamake.files import write_json
from ollamake.ollama.served import ServedModel, served_model
from ollamake.recorded import md5
from tests.contract_ollama.tiny_gguf import write_tiny_gguf
from tests.standin.engine import Engine

JINJA = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
    "{{ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATE = """{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
SYSTEM = 'Reply with "one" word.'
MAX_NEW_TOKENS = 12
PARAMETERS = {
    "num_ctx": 256,
    "num_predict": 64,
    "seed": 1,
    "temperature": 0.7,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.05,
    "repeat_penalty": 1.3,
}
CONVERSATIONS: list[list[dict[str, str]]] = [
    [{"role": "user", "content": "hello"}],
    [{"role": "user", "content": "List files\nby size"}],
    [{"role": "user", "content": "Größe in € – 漢字"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
    [{"role": "system", "content": "Another system."}, {"role": "user", "content": "zz top"}],
]


def convert(folder: Path, *, seed: int = 0, jinja: str = JINJA) -> None:
    """Write what convert writes: the GGUF of the tiny model, serving.json, template.gotmpl and proof.json.

    `jinja` is what the GGUF carries; the proof is always that of JINJA.
    """
    folder.mkdir(parents=True, exist_ok=True)
    gguf = write_tiny_gguf(folder / "model-F16.gguf", seed=seed, chat_template=jinja)
    (folder / "template.gotmpl").write_text(TEMPLATE, encoding="utf-8")
    write_json(
        folder / "serving.json",
        {
            "gguf": gguf.name,
            "sha256": hashlib.sha256(gguf.read_bytes()).hexdigest(),
            "size_bytes": gguf.stat().st_size,
            "quantization": "F16",
            "stops": ["<|im_end|>"],
        },
    )
    write_json(folder / "proof.json", {"max_new_tokens": MAX_NEW_TOKENS, "prompts": _prompts(gguf)})


def lock_of(folder: Path, *outs: str) -> str:
    """Return the dvc.lock of a build that wrote these into a workspace."""
    listed = [{"path": out, "md5": md5(folder / out)} for out in outs]
    return json.dumps({"schema": "2.0", "stages": {"convert": {"outs": listed}}})


def _prompts(gguf: Path) -> list[dict[str, Any]]:
    engine, template = Engine(), ChatTemplate(JINJA)
    prompts = []
    for conversation in CONVERSATIONS:
        messages = with_system(conversation, SYSTEM)
        rendered = template.render(messages, add_generation_prompt=True)
        greedy = {"temperature": 0.0, "num_predict": MAX_NEW_TOKENS, "num_ctx": PARAMETERS["num_ctx"]}
        answer = engine.complete(gguf, rendered, {**greedy, "stop": ["<|im_end|>"]}, 0)
        prompts.append(
            {
                "messages": messages,
                "rendered": rendered,
                "token_ids": engine.tokenize(gguf, rendered, int(PARAMETERS["num_ctx"])),
                "answer": answer["text"],
                "stopped": answer["reason"] == "stop",
            }
        )
    engine.unload()
    return prompts


def read_model(folder: Path, name: str, **changes: Any) -> ServedModel:
    """Read such a folder as the stage does; `changes` replace what it takes from params.yaml and base.json."""
    given: dict[str, Any] = {"system": SYSTEM, "license_name": "apache-2.0", "parameters": PARAMETERS, **changes}
    return served_model(name, folder, relative_to=folder.parent / "export", **given)
