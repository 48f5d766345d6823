"""Proof that tokenizer.json gives the token ids that llama.cpp and transformers give for the same model.

The converter to GGUF cannot see a wrong splitter: its fingerprint is the same for both (reference/gguf.md §1). A model
would be trained on one tokenization and served on another, and nothing would warn.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from ollamake.errors import BaseModelError

# Where splitters differ: digits after spaces and newlines, code, tables, contractions, scripts, numerals, emoji.
# fmt: off
FRAGMENTS = (
    "  12", "\n\n5", "a  <  10", "\t7", "3.14", "1,000,000", "1234567", "0x1F", "v2.0.1", "12:30", "%5d", "# 1",
    "²½②", "٣٤٥", "१२", "１２", "it's", "I'LL", "we've", "don't", "'s", "ñandú", "naïve", "e\u0301", "Straße", "ΑΒΓ",
    "привет", "日本語", "한국어", "עברית", "العربية", "ไทย ๑๒", "👍🏽", "👨\u200d👩\u200d👧", "\u200b", "\ufeff",
    "\u00a0", "\u2028", "\r\n", "\n \n", "    return x[1:]", "\t\tif a==b:", "{}", "=>", "!=", "::", "...", "—", "``",
    "```py\n", "| 1 | 22 |", "|---|--:|", "<div>", "</p>", "a_b", "camelCase9", "HTTP2", "ls -la | grep 10", "$HOME/.x",
    "~/a", "&&", "\\n", "http://a.b/c?d=1&e=2", "user@host", "  ", "   ", " ", "\n", "\n\n\n", "A", "the", " The",
)
# fmt: on
RANDOM_STRINGS = 300


def awkward_strings() -> list[str]:
    """Return each fragment and reproducible mixes of two to six of them, several hundred strings in all."""
    generator = random.Random(0)  # noqa: S311 (not for secrets)
    mixes = ("".join(generator.choices(FRAGMENTS, k=generator.randint(2, 6))) for _ in range(RANDOM_STRINGS))
    return [*FRAGMENTS, *mixes]


def load_tokenizer(folder: Path) -> Any:
    """Return the `tokenizers.Tokenizer` of `folder`. Raises BaseModelError when tokenizer.json holds none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library's Rust code is no Exception
        raise BaseModelError(f"holds no tokenizer: {error}", where=str(path), hint="bring the file again") from error


def check_against_transformers(folder: Path) -> None:
    """Raise BaseModelError unless transformers, which the converter to GGUF uses, reads tokenizer.json as it is."""
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(folder)
    try:
        loaded = AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        raise BaseModelError(f"transformers cannot load the tokenizer: {error}", where=str(folder)) from error
    _compare(tokenizer, lambda text: list(loaded.encode(text, add_special_tokens=False)), "transformers'", str(folder))


def check_against_llama_cpp(folder: Path, gguf: Path) -> None:
    """Raise BaseModelError unless the tokenizer of `folder` gives the ids that llama.cpp gives for `gguf`."""
    with llama_cpp_tokenize(gguf) as tokenize:
        _compare(load_tokenizer(folder), tokenize, "llama.cpp's", str(gguf))


def _compare(tokenizer: Any, other: Callable[[str], list[int]], whose: str, where: str) -> None:
    strings = [*awkward_strings(), *_around(tokenizer)]
    wrong = [text for text in strings if tokenizer.encode(text, add_special_tokens=False).ids != other(text)]
    if wrong:
        raise BaseModelError(
            f"tokenizer.json and {whose} tokenizer differ on {len(wrong)} of {len(strings)} strings, "
            f"first on {wrong[0]!r}",
            where=where,
            hint="what is served would not be what was trained; set base_model to the original model's hub id",
        )


def _around(tokenizer: Any) -> list[str]:
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return [text for token in special for text in (token, f"a {token}\n1", f"{token}{token}  2")]


@contextmanager
def llama_cpp_tokenize(gguf: Path) -> Iterator[Callable[[str], list[int]]]:
    """Yield llama.cpp's tokenization of a GGUF file: text to token ids, special tokens recognised, none added."""
    from xllamacpp import CommonParams, Server

    from ollamake.chat import HARMLESS

    params = CommonParams()
    params.model.path = str(gguf)
    params.n_ctx, params.cache_ram_mib, params.verbosity = 256, 0, 0
    params.ui, params.warmup, params.offline = False, False, True
    params.chat_template = HARMLESS
    try:
        server = Server(params)
    except RuntimeError as error:
        raise BaseModelError("llama.cpp cannot load it", where=str(gguf), hint="download it again") from error
    connection = HTTPConnection(server.listening_address.removeprefix("http://"), timeout=30)

    def tokenize(text: str) -> list[int]:
        body = json.dumps({"content": text, "add_special": False, "parse_special": True})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        return list(json.load(connection.getresponse())["tokens"])

    try:
        yield tokenize
    finally:
        connection.close()
