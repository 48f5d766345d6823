"""A base model that Ollama has pulled: `base_model: ollama:llama3.2:1b`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ollamake.errors import BaseModelError
from ollamake.files import sha256
from ollamake.ollama.names import listed_name
from ollamake.resolve.catalog import Entry
from ollamake.resolve.gguf_file import WHOLE, GgufFile
from ollamake.resolve.gguf_import import IMPORT_VERSION, LocalGguf
from ollamake.resolve.ollama_store import Pulled, find_pulled
from ollamake.resolve.source import Origin, Record, say
from ollamake.resolve.template import FILE

if TYPE_CHECKING:
    from ollamake.resolve.ollama_template import Comparison

KIND = "Ollama store"
# Ollama keeps models that see or hear in one file: the parts of them that are no language model begin so.
OTHER_SENSES = ("v.", "mm.", "a.")


@dataclass(frozen=True)
class OllamaModel:
    """A tag in Ollama; `revision` is the digest that its GGUF has to have, None for whatever the tag holds.

    `entry` is the same model in the catalog, under the catalog's name, where there is one.
    """

    tag: str
    revision: str | None
    entry: tuple[str, Entry] | None

    @property
    def name(self) -> str:
        """The name as it stands in params.yaml."""
        return f"ollama:{self.tag}"

    @property
    def identity(self) -> list[str]:
        """The full name of the tag. What it holds may change: `still_is` looks."""
        return ["ollama", IMPORT_VERSION, listed_name(self.tag).lower(), self.revision or ""]

    def still_is(self, record: Record) -> bool:
        """Whether the tag holds the same GGUF, as far as Ollama has it still."""
        if self.revision == record["revision"]:
            return True
        pulled = find_pulled(listed_name(self.tag))
        if pulled is None:
            say(f"Ollama no longer has {self.tag}; it stays as it was fetched ({record['revision']})")
            return True
        if pulled.revision != record["revision"]:
            say(f"{self.tag} has changed in Ollama: it was {record['revision']}, it is {pulled.revision}")
        return bool(pulled.revision == record["revision"])

    def bring(self, folder: Path, downloads: Path, *, needs_template: bool = True) -> Origin:
        """Import the GGUF; nothing is downloaded."""
        from ollamake.chat import ChatTemplate  # jinja2 loads here
        from ollamake.resolve.ollama_template import Comparison, compare

        pulled = self._pulled()
        say(f"{self.tag} is {pulled.gguf}")
        if (found := f"sha256:{sha256(pulled.gguf)}") != pulled.revision:
            raise BaseModelError(
                f"is damaged: its sha256 is {found}", where=str(pulled.gguf), hint=f"`ollama pull {self.tag}`"
            )
        try:
            _refuse_other_senses(pulled.gguf)
            imported = LocalGguf(pulled.gguf).bring(folder, downloads, needs_template=needs_template)
        except BaseModelError as error:
            raise self._with_way_out(error) from error
        template = (
            compare(pulled.template, ChatTemplate.of(folder)) if (folder / FILE).is_file() else Comparison("not used")
        )
        self._say_what_is_lost(imported.source["quantization"], pulled.system, template)
        source = {
            "kind": KIND,
            "model": listed_name(self.tag),
            "sha256": imported.source["sha256"],
            "quantization": imported.source["quantization"],
            "ollama_template": template.outcome,
        }
        return Origin(source, imported.revision, self._license(pulled, imported.license))

    def _pulled(self) -> Pulled:
        try:
            pulled = find_pulled(listed_name(self.tag))
        except BaseModelError as error:
            raise self._with_way_out(error) from error
        if pulled is None:
            raise BaseModelError(
                f"Ollama on this machine has no model {self.tag}",
                where="params.yaml, base_model",
                hint=f"`ollama pull {self.tag}`, then `dvc repro`; or {self._hub_way()}; OLLAMA_MODELS names the "
                "models folder where it is in no usual place",
            )
        if self.revision and pulled.revision != self.revision:
            raise BaseModelError(
                f"{self.tag} in Ollama is {pulled.revision}, not {self.revision}",
                where="params.yaml, base_model_revision",
                hint="set it to the new digest, or to `pinned` for whatever the tag holds when it is fetched",
            )
        return pulled

    def _say_what_is_lost(self, quantization: str, system: str, template: "Comparison") -> None:
        if quantization not in WHOLE:
            way = f"for the weights as they were, {self._hub_way()}"
            say(f"its weights were rounded to {quantization}, and what that lost stays lost: {way}")
        if system:
            say(f"Ollama gives it a system prompt; set system_prompt to train with it: {system[:200]!r}")
        if template.served != template.trained:
            say(
                "Ollama's template of this model writes other prompts than the chat template in its GGUF, which "
                f"training uses and the tuned model is served with:\n  Ollama's:   {template.served!r}\n"
                f"  the GGUF's: {template.trained!r}"
            )
        elif template.outcome == "not comparable":
            say("Ollama's template of this model could not be compared with the chat template in its GGUF")

    def _license(self, pulled: Pulled, in_gguf: str) -> str:
        if self.entry:
            return self.entry[1].license
        first_line = pulled.license.strip().partition("\n")[0].strip()
        return in_gguf if in_gguf != "unknown" else first_line or "unknown"

    def _hub_way(self) -> str:
        if self.entry:
            return f"set base_model to {self.entry[0]}, which is {self.entry[1].hub_id} on the hub"
        return "set base_model to the hub id of the model that it was made from"

    def _with_way_out(self, error: BaseModelError) -> BaseModelError:
        # What the importer of GGUF files says of the hub can be said better here; what else it says stands.
        hint = self._hub_way() if not error.hint or "hub id" in error.hint else error.hint
        return BaseModelError(error.problem, where=error.where or f"params.yaml, base_model: {self.name}", hint=hint)


def _refuse_other_senses(path: Path) -> None:
    odd = next((name for name in GgufFile(path).tensor_names if name.startswith(OTHER_SENSES)), "")
    if odd:
        raise BaseModelError(f"sees or hears, too ({odd}), and only text can be trained", where=str(path))
