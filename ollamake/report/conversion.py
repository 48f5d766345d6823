"""The GGUF files: proved equal to the trained model, and compared with each other."""

from collections.abc import Iterator, Mapping

from ollamake.report.charts import QUALITY
from ollamake.report.document import Facts, Figures, Section
from ollamake.report.markdown import plain, table

DASH = "–"
MEANINGS = {
    "matrices": "every matrix in the file is the trained one",
    "metadata": "architecture, sizes, RoPE, vocabulary and template are the model's",
    "number of tokens": "enough tokens were compared",
    "numbers": "the log-probabilities are within the bounds of the quantization",
    "prompt texts": "prompts are written as in training, byte for byte",
    "stops": "answers end where the trained model's do",
    "token ids": "texts have the token ids of training",
    "weights": "no weight is NaN or infinite",
}


def parity(facts: Facts) -> Section:
    """Return the section with what was proved of each file, and what each is worth."""
    files = {name: each for name, each in facts.convert.items() if isinstance(each, dict)}
    parts = [_proof(files), table(*_agreement(files)), *_worth(files), "What was checked, and held:", _checks(files)]
    return Section("Served as trained", "\n\n".join(parts), (QUALITY,))


def _proof(files: Mapping[str, Figures]) -> str:
    prompts = max(each["prompts"] for each in files.values())
    return (
        f"llama.cpp answered {prompts:,} held-out prompts with each file, and the trained model judged every token of "
        "it: how often it would have said the same one, and how far apart the two put its log-probability, in nats. "
        "F16 is proved in any case, because the other files come from it."
    )


def _agreement(files: Mapping[str, Figures]) -> tuple[list[str], Iterator[list[str]]]:
    head = ["file", "same token", "same answer", "log-prob. apart", "99 % within", "checks passed"]
    rows = (
        [
            name,
            f"{each['top1_agreement']:.1%} of {each['tokens']:,}",
            f"{each['exact_sequences']:,} of {each['prompts']:,}",
            f"{each['mean_abs_dlogprob']:.4f}",
            f"{each['p99_abs_dlogprob']:.4f}",
            f"{sum(each['checks'].values()):,}",
        ]
        for name, each in files.items()
    )
    return head, rows


def _worth(files: Mapping[str, Figures]) -> Iterator[str]:
    head = ["file", "size", "perplexity", "chrF", "exact match", "first word right", "tokens a second"]
    rows = [
        [
            name,
            f"{each['size_bytes'] / 1e6:,.1f} MB",
            _number(each, "perplexity", ",.3f"),
            _number(each, "chrf", ".1%"),
            _number(each, "exact_match", ".1%"),
            _number(each, "first_word_accuracy", ".1%"),
            _number(each, "tokens_per_second", ",.0f"),
        ]
        for name, each in files.items()
    ]
    yield table(head, rows)
    first = next(iter(files.values()))
    if "trained_perplexity" in first:
        yield (
            f"Perplexity of the {first['reference_tokens']:,} tokens of the prompts' reference answers; that of the "
            f"trained model is {first['trained_perplexity']:,.3f}. Speeds are of one answer at a time on the CPU of "
            "the machine that built it."
        )


def _number(figures: Figures, name: str, form: str) -> str:
    return f"{figures[name]:{form}}" if name in figures else DASH


def _checks(files: Mapping[str, Figures]) -> str:
    groups = sorted({group for each in files.values() for group in each["checks"]})
    rows = [
        [plain(group), MEANINGS.get(group, ""), *(str(each["checks"].get(group, DASH)) for each in files.values())]
        for group in groups
    ]
    return table(["checks", "what they hold", *files], rows, left=2)
