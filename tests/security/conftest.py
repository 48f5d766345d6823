"""The tiny project, built with secrets in its environment; tests/pipeline has the same build."""

from tests.pipeline.conftest import built

__all__ = ["built"]
