"""The tiny project of the pipeline tests, which the laws are tried on."""

from tests.pipeline.conftest import built, project

__all__ = ["built", "project"]
