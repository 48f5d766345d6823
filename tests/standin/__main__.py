"""`python -m tests.standin --port N --models FOLDER`: the stand-in as a process, ended by SIGTERM or Ctrl-C.

Prints one line when it listens. `POST /faults` with the fields of a `Fault` orders a failure.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.standin.http import VERSION, StandIn


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description="A stand-in for an Ollama server.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--models", type=Path, help="folder that keeps the models; a temporary one by default")
    parser.add_argument("--version", default=VERSION, help=f"the version to claim (default {VERSION})")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory() as temporary,
        StandIn(given.models or Path(temporary), port=given.port, version=given.version) as server,
    ):
        print(f"OLLAMA_HOST={server.url}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(0)


if __name__ == "__main__":
    main()
