"""Eight model families in miniature: the published chat template, the real special tokens, the kind of tokenizer.

The vocabularies are trained on a few lines, for only the special tokens with their flags and the way in which text is
split decide what a template can get wrong.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from ollamake.files import write_json
from ollamake.resolve.gguf_tokenizer import LLAMA3_SPLIT, QWEN2_SPLIT

TEMPLATES = Path(__file__).parent / "templates"
CORPUS = [
    "Answer with one shell command. You are a helpful assistant. How do I list the files of a folder?",
    "ls -l ls -la . and the hidden ones too, system user assistant model\n\n\n 0 1 2 3 4 5 6 7 8 9 [INST] [/INST]",
    "Grüße, 世界! Привет, мир. <|user|>\n<|assistant|>\n<|system|>\n",
] * 4


def token(text: str, *, special: bool = True, rstrip: bool = False) -> AddedToken:
    return AddedToken(text, special=special, rstrip=rstrip, normalized=False)


@dataclass(frozen=True)
class Family:
    """One family: `kind` builds its tokenizer, `ends` are the tokens of eos_token_id in its generation_config.json."""

    kind: Any
    tokens: tuple[AddedToken, ...]
    named: dict[str, str]
    ends: tuple[str, ...]
    refuses_system: str = ""
    default_system: str = ""

    @property
    def end_of_turn(self) -> str:
        """The last of `ends`, which the template writes after an answer."""
        return self.ends[-1]


def bpe(added: tuple[AddedToken, ...], normalizer: Any, splitter: Any, *, bytes_too: bool) -> Tokenizer:
    """Train a tiny BPE; with `bytes_too` it spells what it does not know in bytes, as SentencePiece's do."""
    tokenizer = Tokenizer(models.BPE())
    # SentencePiece learns no token across words or lines, though nothing in its tokenizer.json splits there.
    words = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, words if bytes_too else splitter
    alphabet = [] if bytes_too else pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([line for text in CORPUS for line in text.splitlines(not bytes_too)], trainer)
    tokenizer.pre_tokenizer = splitter
    learnt = json.loads(tokenizer.to_str())["model"]
    spelled = [f"<0x{byte:02X}>" for byte in range(256)] if bytes_too else []
    texts = dict.fromkeys([*(one.content for one in added), *spelled, *learnt["vocab"]])
    merges = [tuple(pair) for pair in learnt["merges"]]
    unknown = {"unk_token": "<unk>", "fuse_unk": True} if bytes_too else {}
    vocabulary = {text: number for number, text in enumerate(texts)}
    tokenizer.model = models.BPE(vocabulary, merges, byte_fallback=bytes_too, **unknown)
    tokenizer.add_tokens(list(added))
    return tokenizer


def byte_level(*before: Any, normalizer: Any = None) -> Any:
    def build(added: tuple[AddedToken, ...]) -> Tokenizer:
        splits_already = isinstance(before[0], pre_tokenizers.Split)
        own = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not splits_already)
        tokenizer = bpe(added, normalizer, pre_tokenizers.Sequence([*before, own]), bytes_too=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    return build


def sentencepiece(normalizer: Any, splitter: Any = None, *, strips: bool = True) -> Any:
    def build(added: tuple[AddedToken, ...]) -> Tokenizer:
        tokenizer = bpe(added, normalizer, splitter, bytes_too=True)
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strips else steps)
        return tokenizer

    return build


def split(pattern: str) -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def marked(text: str = "▁") -> Any:
    return normalizers.Sequence([normalizers.Prepend(text), normalizers.Replace(" ", "▁")])


LLAMA2 = (token("<unk>"), token("<s>"), token("</s>"))
LLAMA2_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
CHATML = (token("<|endoftext|>"), token("<|im_start|>"), token("<|im_end|>"))
GEMMA = tuple(map(token, ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")))
LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
# Phi-3 swallows the white space after these, newlines too.
PHI3 = tuple(token(text, rstrip=True) for text in ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"))
INST = tuple(map(token, ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")))
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."

FAMILIES = {
    "smollm2": Family(
        byte_level(pre_tokenizers.Digits(individual_digits=True)),
        CHATML,
        {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"},
        ("<|im_end|>",),
        default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
    ),
    "llama3": Family(
        byte_level(split(LLAMA3_SPLIT)),
        tuple(map(token, LLAMA3)),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        ("<|end_of_text|>", "<|eot_id|>"),
    ),
    "mistral-v0.2": Family(sentencepiece(marked()), LLAMA2, LLAMA2_NAMES, ("</s>",), refuses_system=ALTERNATE),
    "mistral-v0.3": Family(
        sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
        (*LLAMA2, *INST),
        LLAMA2_NAMES,
        ("</s>",),
    ),
    "gemma": Family(
        sentencepiece(normalizers.Replace(" ", "▁"), strips=False),
        (*GEMMA, token("\n\n", special=False), token("\n", special=False)),
        {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"},
        ("<eos>", "<end_of_turn>"),
        refuses_system="System role not supported",
    ),
    "phi3": Family(
        sentencepiece(marked()),
        (*LLAMA2[:2], token("</s>", special=False, rstrip=True), token("<|endoftext|>"), *PHI3),
        {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>", "pad_token": "<|endoftext|>"},
        ("<|endoftext|>", "<|assistant|>", "<|end|>"),
    ),
    "qwen2.5": Family(
        byte_level(split(QWEN2_SPLIT), normalizer=normalizers.NFC()),
        CHATML,
        {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        ("<|endoftext|>", "<|im_end|>"),
        default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    ),
    "tinyllama": Family(sentencepiece(marked()), LLAMA2, LLAMA2_NAMES, ("</s>",)),
}


def write_family(name: str, folder: Path) -> Path:
    """Write tokenizer.json, tokenizer_config.json, generation_config.json and chat_template.jinja; return `folder`."""
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    tokenizer = family.kind(family.tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {**family.named, "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "generation_config.json", {"eos_token_id": [tokenizer.token_to_id(end) for end in family.ends]})
    (folder / "chat_template.jinja").write_bytes((TEMPLATES / f"{name}.jinja").read_bytes())
    return folder
