import socket
import threading
import traceback

import pytest
from ollama._client import _parse_host

from ollamake.errors import ServerError
from ollamake.ollama import address
from ollamake.ollama.address import Address, exposure, parse_address, server_address, why_silent

FORMS = [
    *("", "1.2.3.4", ":56789", "1.2.3.4:56789", "http://1.2.3.4", "https://1.2.3.4", "https://1.2.3.4:56789"),
    *(
        "example.com",
        "example.com:56789",
        "http://example.com",
        "https://example.com",
        "example.com/",
        "example.com/path",
    ),
    *("example.com:56789/path/", "https://example.com:56789/a/b", "[0001:002:003:0004::1]", "[::1]:56789/path"),
    *("http://[0001:002:003:0004::1]", "https://[::1]:56789/path/", "localhost", "http://user:secret@example.com:80"),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_the_ollama_client_reads_it(form: str) -> None:
    assert parse_address(form).url == _parse_host(form)


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("", Address("http://127.0.0.1:11434", "127.0.0.1", 11434)),
        ("[::1]", Address("http://[::1]:11434", "::1", 11434)),
        ("https://gpu.example/ollama", Address("https://gpu.example:443/ollama", "gpu.example", 443)),
        (' "gpu:5"\n', Address("http://gpu:5", "gpu", 5)),
        ("0.0.0.0", Address("http://127.0.0.1:11434", "127.0.0.1", 11434)),  # noqa: S104
        ("http://0.0.0.0:5", Address("http://127.0.0.1:5", "127.0.0.1", 5)),
        ("[::]:5", Address("http://[::1]:5", "::1", 5)),
        ("[::0]", Address("http://[::1]:11434", "::1", 11434)),
        ("[0:0:0:0:0:0:0:0]:5", Address("http://[::1]:5", "::1", 5)),
        ("[::ffff:0.0.0.0]", Address("http://127.0.0.1:11434", "127.0.0.1", 11434)),
        ("0", Address("http://127.0.0.1:11434", "127.0.0.1", 11434)),
        ("http://:5", Address("http://127.0.0.1:5", "127.0.0.1", 5)),
    ],
)
def test_host_and_port_are_those_of_a_socket(form: str, found: Address) -> None:
    assert parse_address(form) == found


@pytest.mark.parametrize(
    "form", ["ftp://a", "file:///etc/passwd", "host:port", "host:99999", "http://[::1", "a://b://c"]
)
def test_what_is_no_address_is_refused_with_what_was_written(form: str) -> None:
    with pytest.raises(ServerError) as failure:
        parse_address(form)
    assert failure.value.where == f"OLLAMA_HOST={form}"
    assert "write host:port" in failure.value.hint


@pytest.mark.row("R6.5")
@pytest.mark.parametrize(
    "form",
    [
        *("file:///etc/passwd", "gopher://127.0.0.1:11434/_x", "unix:///run/docker.sock", "data://text"),
        *("169.254.169.254", "http://169.254.169.254/latest/meta-data", "http://0xA9FEA9FE", "2852039166:80"),
        *("http://[::ffff:169.254.169.254]", "http://user:secret@[fe80::1%25eth0]:11434"),
    ],
)
def test_no_address_leads_to_files_other_protocols_or_the_services_of_a_cloud(form: str) -> None:
    with pytest.raises(ServerError, match="is no address of a server") as failure:
        parse_address(form)
    assert failure.value.where == f"OLLAMA_HOST={form.replace('user:secret@', '…@')}"


@pytest.mark.row("R6.1")
@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("http://user:pa/secret@gpu:11434", "http://…@gpu:11434"),
        ("http://user:12/secret@gpu", "http://…@gpu"),
        ("http://user:12?secret@gpu", "http://…@gpu"),
        ("http://user:12#secret@gpu", "http://…@gpu"),
        ("http://user:secret@secret@gpu:port", "http://…@gpu:port"),
        ("http://user:secret:port", "http://user:secret:port"),  # nothing tells that this is a password
        ("ftp://user:se/secret@gpu", "ftp://…@gpu"),
        ("http://user:[secret]@gpu", "http://…@gpu"),
        ("http://user:[secret@gpu", "http://…@gpu"),
        ("http://user:se℀secret@gpu", "http://…@gpu"),
        ("user:secret@http://gpu", "…@http://gpu"),
        ("user:secret/secret@gpu", "…@gpu"),
    ],
)
def test_a_password_in_what_is_no_address_is_not_repeated(form: str, shown: str) -> None:
    with pytest.raises(ServerError) as failure:
        parse_address(form)
    assert failure.value.where == f"OLLAMA_HOST={shown}"
    said = f"{failure.value.problem} {failure.value.hint}"
    if "@" in form:
        said += "".join(traceback.format_exception(failure.value))
    assert "secret" not in said


@pytest.mark.row("R6.1")
def test_a_password_is_repeated_neither_in_the_address_nor_in_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "http://user:secret@0.0.0.0:5")
    assert server_address() == Address("http://127.0.0.1:5", "127.0.0.1", 5)
    assert exposure().startswith("warning: OLLAMA_HOST=http://…@0.0.0.0:5 lets")


@pytest.mark.row("R6.5")
def test_a_name_that_leads_to_a_link_local_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connected:
        def __enter__(self) -> "Connected":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def getpeername(self) -> tuple[str, int]:
            return "169.254.169.254", 80

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: Connected())
    assert why_silent(parse_address("metadata.example")) == "a name for a link-local address"


@pytest.mark.row("R6.5")
@pytest.mark.parametrize(
    "host",
    [
        *("0.0.0.0", "http://0.0.0.0:11434", "[::]:5", ' "0.0.0.0" '),  # noqa: S104
        *(":11434", "http://:11434", "[::0]", "[0:0:0:0:0:0:0:0]", "[::ffff:0.0.0.0]:5", "0", "0:11434"),
    ],
)
def test_a_server_open_to_everybody_is_warned_of(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert exposure().startswith(f"warning: OLLAMA_HOST={host} lets `ollama serve` answer the whole network")


@pytest.mark.row("R6.5")
@pytest.mark.parametrize(
    "host", ["", " ", "http://", "127.0.0.1", "localhost:5", "[::1]", "https://gpu.example/ollama"]
)
def test_a_server_with_an_address_of_its_own_is_not(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert exposure() == ""


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "10.1.2.3:4")
    assert server_address().url == "http://10.1.2.3:4"
    monkeypatch.delenv("OLLAMA_HOST")
    assert server_address().url == "http://127.0.0.1:11434"


def test_a_listening_socket_is_not_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert why_silent(parse_address(f":{port}")) == ""


@pytest.mark.row("R4.1")
def test_a_port_at_which_nobody_listens_is_silent() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        assert why_silent(parse_address(f":{reserved.getsockname()[1]}")) == "connection refused"


@pytest.mark.row("R4.1")
def test_a_name_server_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def hang(*_: object, **__: object) -> None:
        ended.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(address, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "create_connection", hang)
    assert why_silent(parse_address("example.com")) == "no answer within 0 s"
    ended.set()


@pytest.mark.row("R4.1")
def test_a_host_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, timeout: float) -> None:
        assert timeout <= 2
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", never)
    assert why_silent(parse_address("example.com")) == "no answer within 2 s"


@pytest.mark.row("R4.1")
def test_a_host_that_no_name_server_could_know_is_unknown() -> None:
    assert why_silent(parse_address("a" * 64)) == "unknown host"


@pytest.mark.row("R4.1")
def test_an_unknown_host_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert why_silent(parse_address("nowhere.invalid")) == "unknown host"
