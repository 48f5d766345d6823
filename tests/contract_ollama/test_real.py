"""Whether any of this was held against Ollama itself."""

import pytest

from ollamake.ollama.address import parse_address
from ollamake.ollama.http_server import HttpServer
from ollamake.ollama.version import require_version
from tests.contract_ollama.real import WHY_NONE


@pytest.mark.ollama
@pytest.mark.skipif(bool(WHY_NONE), reason=WHY_NONE)
def test_the_contract_is_held_against_a_real_server(real_url: str) -> None:
    with HttpServer(parse_address(real_url)) as server:
        assert require_version(server)
