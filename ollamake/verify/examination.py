"""Everything that will ship and all it came from, hashed again."""

from collections.abc import Iterator

from ollamake.progress import progress
from ollamake.verify import origin, shipped
from ollamake.verify.hashing import Hashes, examine
from ollamake.verify.part import Result


def examine_all() -> Iterator[Result]:
    """Yield what each part came to, in the order of the build."""
    hashes = Hashes()
    parts = [*origin.parts(hashes), *shipped.serving(), shipped.releases()]
    with progress("hashing files", sum(len(part.files) for part in parts)) as advance:
        yield from examine(parts, hashes, advance)
