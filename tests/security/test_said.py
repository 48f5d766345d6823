"""What is said when something fails holds no password: not that of the hub, of the package index or of the server."""

import os
import subprocess
import sys
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from tests.contract.graph import ROOT
from tests.hub import HubHandler
from tests.security.canaries import MARK, SECRETS

pytestmark = pytest.mark.row("R6.1")
HUB = """
from pathlib import Path
from ollamake.collect import hub as data
from ollamake.resolve import hub as models
wanted = data.HubData("someone/data", "c" * 40, "all")
tries = [
    lambda: models.describe("someone/model", None),
    lambda: models.fetch_files("someone/model", "c" * 40, ["config.json"], Path("fetched")),
    lambda: models.HubModel("m", "someone/model", None, None).bring(Path("m"), Path("downloads")),
    lambda: data.describe(wanted),
    lambda: wanted.bring("data", Path("raw"), Path("downloads")),
    lambda: wanted._download({"a.jsonl": {"size": 1, "blob": "x"}}, Path()),
]
for one in tries:
    try:
        one()
    except Exception as error:
        print(type(error).__name__, error)
"""
INDEX = """
from pathlib import Path
from ollamake.collect.index import source_archive
from ollamake.collect.recipe import Package
from ollamake.resolve.catalog import Wheel
from ollamake.resolve.wheel import gguf_from_wheel
facts = {"requirement": "some-model==1.0", "sha256": "0" * 64, "license": "mit"}
for one in (lambda: gguf_from_wheel(Wheel(file="a.gguf", **facts), Path("w")),
            lambda: source_archive(Package.model_construct(**facts), Path("s"))):
    try:
        one()
    except Exception as error:
        print(type(error).__name__, error)
"""


@pytest.fixture
def server():
    """A server that refuses everything with `status`."""
    fake = SimpleNamespace(asked=[], seconds=0.0, status=404, error_code="")
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(HubHandler, fake))
    fake.address = f"user:{MARK}@127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield fake
    http.shutdown()
    thread.join()
    http.server_close()


def said(code: str, folder: Path, **changes: str) -> str:
    environment = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "PIP_CONFIG_FILE": os.devnull, **changes}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("status", [401, pytest.param(404, marks=pytest.mark.nightly)])
def test_a_hub_that_refuses_is_told_of_without_the_password_in_its_address(tmp_path, server, status):
    server.status = status
    text = said(HUB, tmp_path, HF_ENDPOINT=f"http://{server.address}", HF_HUB_OFFLINE="0")
    assert text.count("HubUnreachableError") == 2
    assert text.count("BaseModelError") == 2
    assert text.count("DataError") == 2
    assert f" for url 'http://127.0.0.1:{server.address.rpartition(':')[2]}/api/models/someone/model" in text
    assert len(server.asked) >= 6
    assert MARK not in text


def test_an_index_that_refuses_is_told_of_without_the_password_in_its_address(tmp_path, server):
    text = said(INDEX, tmp_path, PIP_INDEX_URL=f"http://{server.address}/simple", PIP_FIND_LINKS="", PIP_RETRIES="0")
    assert "BaseModelError" in text
    assert "DataError" in text
    assert server.asked
    assert MARK not in text
