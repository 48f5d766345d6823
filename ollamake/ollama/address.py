"""Where the Ollama server is: OLLAMA_HOST in the forms that Ollama takes, and whether anything listens there.

Nothing but the standard library: a build on a machine without Ollama asks this question every time.
"""

import ipaddress
import os
import re
import socket
import threading
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ollamake.errors import ServerError

SCHEME_PORTS = {"http": 80, "https": 443}
EXPOSED = (
    "warning: OLLAMA_HOST={text} lets `ollama serve` answer the whole network, and Ollama asks nobody for a password: "
    "anybody there can use, replace and delete models"
)
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
PROBE_SECONDS = 2.0
LOOPBACK = {4: DEFAULT_HOST, 6: "::1"}
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Address:
    """A server's address: `url` for requests and messages, `host` and `port` for a socket."""

    url: str
    host: str
    port: int


def server_address() -> Address:
    """Return the address that OLLAMA_HOST names, by default 127.0.0.1:11434. Raises ServerError."""
    return parse_address(os.environ.get("OLLAMA_HOST", ""))


def parse_address(text: str) -> Address:
    """Read `host`, `host:port`, `:port`, `http://host`, `https://host:port/path` and the like. Raises ServerError.

    Ports as in Ollama: 11434, but 80 and 443 where the scheme is written out. A password in the URL is dropped.
    """
    written = text.strip().strip("\"'")
    scheme, _, rest = written.partition("://") if "://" in written else ("http", "", written)
    if scheme not in SCHEME_PORTS:
        raise _unusable(text, "it begins with neither http:// nor https://")
    default_port = SCHEME_PORTS[scheme] if "://" in written else DEFAULT_PORT
    host, port, path = _parts(urlsplit_or_refuse(f"{scheme}://{rest}", text), text)
    if (ip := _ip_address(host)) and ip.is_unspecified:  # where a server listens everywhere; nobody can connect to it
        host = LOOPBACK[ip.version]
    if is_link_local(host):
        raise _unusable(text, "169.254.0.0/16 and fe80::/10 hold the services of clouds and routers, and no Ollama")
    shown = f"[{host}]" if _is_ipv6(host) else host
    port = port or default_port
    return Address(f"{scheme}://{shown}:{port}" + (f"/{path}" if path else ""), host, port)


def exposure() -> str:
    """Return a warning where OLLAMA_HOST would let a server started with it answer everybody; else an empty string."""
    text = os.environ.get("OLLAMA_HOST", "")
    written = text.strip().strip("\"'")
    url = urlsplit_or_refuse(written if "://" in written else f"http://{written}", text)
    ip = _ip_address(url.hostname or "")
    # A port without a host is that port of every address; Ollama adds 127.0.0.1 only where there is neither.
    everywhere = ip.is_unspecified if ip else url.netloc.startswith(":")
    return EXPOSED.format(text=_without_password(text)) if everywhere else ""


def why_silent(address: Address) -> str:
    """Return why nothing can be reached at the address, in a few words; an empty string if something listens.

    A name server that does not answer, or a host with many addresses, takes no longer than PROBE_SECONDS either.
    """
    found: list[str] = []
    probe = threading.Thread(target=lambda: found.append(_probe(address)), daemon=True)
    probe.start()
    probe.join(PROBE_SECONDS)
    return found[0] if found else f"no answer within {PROBE_SECONDS:.0f} s"


def _probe(address: Address) -> str:
    try:
        with socket.create_connection((address.host, address.port), timeout=PROBE_SECONDS) as connection:
            return "a name for a link-local address" if is_link_local(connection.getpeername()[0]) else ""
    except (socket.gaierror, UnicodeError):
        return "unknown host"
    except TimeoutError:
        return f"no answer within {PROBE_SECONDS:.0f} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()


def urlsplit_or_refuse(url: str, text: str) -> SplitResult:
    """Split a URL. Raises ServerError that shows `text`, what the user wrote, without its password."""
    try:
        return urlsplit(url)
    except ValueError:  # says what the URL is, password included: nothing of it is passed on
        raise _unusable(text, "it holds brackets or characters that no address has") from None


def _parts(url: SplitResult, text: str) -> tuple[str, int | None, str]:
    if "@" in f"{url.path}{url.query}{url.fragment}":  # so the host and the path are pieces of a password
        raise _unusable(text, "what stands before its @ holds a / ? or #; leave it out, since no password is used")
    try:
        return url.hostname or DEFAULT_HOST, url.port, url.path.strip("/")
    except ValueError:
        raise _unusable(text, "the port is no number up to 65535") from None


def is_link_local(host: str) -> bool:
    """Tell whether the host is an address of the link alone, in any way of writing it that a socket would take."""
    ip = _ip_address(host)
    return bool(ip and ip.is_link_local)


def _ip_address(host: str) -> IpAddress | None:
    """Return the address that a host is written as, in any way that a socket would take; None for a name."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            found = ipaddress.ip_address(socket.inet_aton(host))  # 2852039166, 0xA9FEA9FE, 169.254.43518, 0
        except OSError:
            return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _without_password(text: str) -> str:
    # Up to the last @: one that is not written as it should be may hold others, and slashes.
    return re.sub(r"^(\w+://)?.*@", r"\1…@", text, flags=re.DOTALL)


def _unusable(text: str, why: str) -> ServerError:
    return ServerError(
        f"is no address of a server: {why}",
        where=f"OLLAMA_HOST={_without_password(text)}",
        hint="write host:port, or http://host:port; unset it for 127.0.0.1:11434",
    )
