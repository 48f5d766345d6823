"""What the prompt cache of a llama.cpp server tells one client of what another one asked.

    python -m benchmarks.prompt_cache

A victim asks; a prober then asks with the same beginning, or with another of the same length, and reads how long the
server took over the prompt. Printed for `cache_prompt` on (the default of llama-server, which Ollama leaves as it is)
and off: the medians, and how often a guess by time alone is right (0.5 is none the wiser).
"""

import argparse
import random
import statistics
from collections.abc import Iterator
from pathlib import Path

from ollamake.gguf.runtime import Runtime

GGUF = Path("models/gguf")
COMMON_IDS = range(1000, 9000)  # ordinary words in every vocabulary


def main() -> None:
    given = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    given.add_argument("--gguf", type=Path, default=None, help="by default the one of the last build")
    given.add_argument("--probes", type=int, default=100)
    given.add_argument("--tokens", type=int, default=200, help="length of the secret beginning")
    asked = given.parse_args()
    gguf = asked.gguf or next(GGUF.glob("*.gguf"))
    print(f"{asked.probes} probes of {asked.tokens} tokens, {gguf.name}")
    with Runtime(gguf, 2 * asked.tokens) as runtime:
        for cached in (True, False):
            told = list(probes(runtime, asked.probes, asked.tokens, cached=cached))
            hits = [seconds for hit, seconds in told if hit]
            misses = [seconds for hit, seconds in told if not hit]
            print(
                f"cache_prompt {'on ' if cached else 'off'}: known beginning {statistics.median(hits) * 1e3:.1f} ms, "
                f"another {statistics.median(misses) * 1e3:.1f} ms, told apart {separation(hits, misses):.2f}"
            )


def probes(runtime: Runtime, count: int, tokens: int, *, cached: bool) -> Iterator[tuple[bool, float]]:
    """Yield of each probe whether its beginning was the victim's, and the seconds the prompt took; half of each."""
    drawn = random.Random(1)  # noqa: S311 - no secret is at stake
    for number in range(count):
        secret, other = (drawn.choices(COMMON_IDS, k=tokens) for _ in range(2))
        runtime.answer(secret, 1, cache_prompt=cached)
        hit = number % 2 == 0
        end = drawn.choices(COMMON_IDS, k=4)
        yield hit, runtime.answer([*(secret if hit else other), *end], 1, cache_prompt=cached).prompt_seconds


def separation(hits: list[float], misses: list[float]) -> float:
    """Return the chance that a hit is quicker than a miss (the area under the ROC curve)."""
    pairs = [(hit < miss) + (hit == miss) / 2 for hit in hits for miss in misses]
    return statistics.fmean(pairs)


if __name__ == "__main__":
    main()
