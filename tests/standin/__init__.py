"""A stand-in for an Ollama server: the part of its HTTP API that ollamake uses, with real templates and real inference.

It behaves as Ollama 0.33 does wherever its source says how: the same routes, status codes, texts and places of errors.
Templates are rendered by `gotpl`, answers come from the uploaded GGUF through the embedded llama.cpp. As a fixture:
`with running(folder) as standin`; as a process: `python -m tests.standin --port N`.
"""

from tests.standin.faults import Fault
from tests.standin.http import StandIn, running

__all__ = ["Fault", "StandIn", "running"]
