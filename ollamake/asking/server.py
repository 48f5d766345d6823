"""The server in which a model is found that can be asked."""

from typing import Any, ClassVar

from ollamake.asking.model import Model, Options
from ollamake.asking.role import Role
from ollamake.errors import ServerError
from ollamake.ollama.connection import VERSION_TIMEOUT, Connection
from ollamake.ollama.names import listed_name
from ollamake.ollama.version import require_version

SHOWN_MODELS = 10
# A long reply that breaks off late is still worth another try.
REPLY_SECONDS = 1800.0


class ModelServer(Connection):
    """The server that the model is in. Every method raises ServerError when there is nothing to be had from it."""

    role: ClassVar[Role]
    form: ClassVar[dict[str, Any] | None] = None

    def find(self, name: str, options: Options) -> tuple[Model, str]:
        """Return the model of this name and the server's version. Raises ServerError that names the models there."""
        version = require_version(self)
        digest = self.digest(listed_name(name))
        if digest is None:
            raise self._missing(name)
        shown = self.show(name)
        capabilities = shown.get("capabilities") or ["completion"]  # a server need not say
        if "completion" not in capabilities:
            raise ServerError(
                f"{name} does not answer prompts; it is made for {', '.join(map(str, capabilities))}",
                where=self.url,
                hint=f"name another `{self.role.parameter}` in params.yaml, then `{self.role.command}`",
            )
        thinks = "thinking" in capabilities
        return Model(name, digest, {**_neutral(shown), **options}, thinks, self.form), version

    def digest_at_once(self, name: str) -> str | None:
        """Return the digest of a tag by its full name, asked for once and in seconds: somebody may have hit Ctrl-C."""

        def ask() -> str | None:
            tags = self._http.get("/api/tags", timeout=VERSION_TIMEOUT).json()["models"]
            return next((str(tag["digest"]) for tag in tags if tag["name"].lower() == name.lower()), None)

        return self._ask("list the models", ask, max_seconds=0)

    def _missing(self, name: str) -> ServerError:
        names = list(self.digests())
        listed = ", ".join(names[:SHOWN_MODELS]) + (", …" if len(names) > SHOWN_MODELS else "")
        return ServerError(
            f"there is no model {name}; " + (f"there are: {listed}" if listed else "there are none at all"),
            where=self.url,
            hint=f"`ollama pull {name}`, or name another `{self.role.parameter}` in params.yaml; "
            f"then `{self.role.command}`",
        )


def _neutral(shown: dict[str, Any]) -> Options:
    """Return options that depend on the server's version unless they are set; those that the model sets are its own."""
    own = {line.split(maxsplit=1)[0] for line in (shown.get("parameters") or "").splitlines() if line.strip()}
    return {} if "repeat_penalty" in own else {"repeat_penalty": 1.0}
