"""Bring a model into a server: built and proved under a candidate tag, given its name only then."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from ollamake.errors import ConversionError, ServerError
from ollamake.files import sha256
from ollamake.ollama.blobs import blob_digest, blobs_of
from ollamake.ollama.receipt import SERVED, Proved, Receipt, read_receipt, write_receipt
from ollamake.ollama.refusals import LOG, MissingBlobError
from ollamake.ollama.served import TRIAL, TRIAL_DIGITS, ServedModel
from ollamake.ollama.server import Server
from ollamake.ollama.verify import PROOF_VERSION, Finding, verify
from ollamake.ollama.version import require_version

SHOWN_DETAILS = 3


def serve(
    server: Server, model: ServedModel, receipt_path: Path, before_sending: Callable[[], None] = lambda: None
) -> tuple[Proved, bool]:
    """Bring the server to hold exactly this model; return its proof and whether anything had to be done.

    The GGUF is hashed before it is sent, and `before_sending` may refuse more; where nothing has to be done, nothing
    is hashed. The receipt says `not served` from the first change to the last check, so a killed or failed export is
    seen. Raises ServerError, and ConversionError for a GGUF that is not what convert wrote.
    """
    version, known = require_version(server), _last_proof(model, receipt_path)
    current = known is not None and is_current(server, version, model, known)
    if known is None or not current:
        _require_recorded(model)
        before_sending()
        unfinished = f"not served: the last export to {server.url} did not finish"
        write_receipt(receipt_path, Receipt(model=model.written_name, status=unfinished, proved=known))
        known = deploy(server, version, model)
    write_receipt(receipt_path, Receipt(model=model.written_name, status=SERVED, proved=known))
    return known, not current


def postpone(model: ServedModel, receipt_path: Path, reason: str) -> None:
    """Note that the model is not served. The last proof stays: the model may still be there when the server is back."""
    proved = _last_proof(model, receipt_path)
    write_receipt(receipt_path, Receipt(model=model.written_name, status=f"not served: {reason}", proved=proved))


def is_current(server: Server, version: str, model: ServedModel, proved: Proved) -> bool:
    """Tell whether this very server still holds exactly what was proved there, and nothing has changed since."""
    if (proved.server, proved.version, proved.inputs) != (server.url, version, _inputs(model)):
        return False
    return server.digest(model.name) == proved.tag_digest


def deploy(server: Server, version: str, model: ServedModel) -> Proved:
    """Upload, create, prove, name. Raises ServerError and leaves what had the name untouched when anything fails."""
    _create(server, model)
    digest = _digest(server, model.candidate)
    _say(f"proving {model.candidate} on {len(model.proof.prompts)} prompts")
    findings = verify(server, model.candidate, model)
    if not all(finding.enough for finding in findings):
        raise _unproved(server, model, findings)
    _give_name(server, model, digest)
    checks = {finding.check: str(finding) for finding in findings}
    blobs = {"uploaded": f"sha256:{model.serving.sha256}", "served": _served_gguf(server, model.name)}
    return Proved(
        server=server.url, version=version, tag_digest=digest, blobs=blobs, inputs=_inputs(model), checks=checks
    )


def _inputs(model: ServedModel) -> str:
    """Return what a proof rests on: the model, and how strict the proof was."""
    return f"proof {PROOF_VERSION} of {model.key}"


def _require_recorded(model: ServedModel) -> None:
    if sha256(model.gguf) != model.serving.sha256:
        raise ConversionError(
            "its sha256 is not the one that convert wrote: it was altered since, so nothing is sent",
            where=str(model.gguf),
            hint="`python -m ollamake verify` names what was altered, and the commands that mend it",
        )


def _last_proof(model: ServedModel, receipt_path: Path) -> Proved | None:
    receipt = read_receipt(receipt_path)
    return receipt.proved if receipt and receipt.model == model.written_name else None


def _create(server: Server, model: ServedModel) -> None:
    for last_try in (False, True):
        if not server.has_blob(model.serving.sha256):
            _say(f"uploading {model.gguf} ({model.serving.size_bytes / 1e6:,.1f} MB) to {server.url}")
            server.upload(model.gguf, model.serving.sha256)
        _say(f"creating {model.candidate}")
        try:
            return server.create(model.candidate, model.serving.sha256, model.modelfile)
        except MissingBlobError:  # a server that restarts drops files that no tag uses yet
            if last_try:
                raise
    raise AssertionError("unreachable")


def _served_gguf(server: Server, name: str) -> str:
    paths = blobs_of(server.show(name).get("modelfile", ""))
    return blob_digest(paths[0]) if paths else ""


def _digest(server: Server, name: str) -> str:
    digest = server.digest(name)
    if digest is None:
        raise ServerError(f"{name} is not listed, although it was created", where=server.url, hint=LOG)
    return digest


def _give_name(server: Server, model: ServedModel, digest: str) -> None:
    if server.digest(model.candidate) != digest:
        raise ServerError(
            f"{model.candidate} was replaced while it was being proved; does another export use the same name?",
            where=server.url,
            hint="give each workspace its own ollama_model, then `dvc repro export`",
        )
    server.copy(model.candidate, model.name)
    if server.digest(model.name) != digest:
        raise ServerError(
            f"{model.name} is not the model that was proved, although the server said that it copied it",
            where=server.url,
            hint=LOG,
        )
    _drop_candidates(server, model)


def _drop_candidates(server: Server, model: ServedModel) -> None:
    """Delete this model's candidate, and those that earlier exports under the name left when they failed."""
    left = re.compile(f"{re.escape(model.name + TRIAL)}[0-9a-f]{{{TRIAL_DIGITS}}}", re.IGNORECASE)
    for tag in server.digests():
        if left.fullmatch(tag):
            server.delete(tag)


def _unproved(server: Server, model: ServedModel, findings: list[Finding]) -> ServerError:
    return ServerError(
        "\n".join([f"{model.candidate} does not behave as the model that was trained", *listed(findings)]),
        where=server.url,
        hint=f"{model.name} serves what it served before; `ollama run {model.candidate}` shows the failed one, and "
        "`dvc repro export` tries again",
    )


def listed(findings: list[Finding]) -> list[str]:
    """Return the lines that show the findings to a person, with the first details of those that are not enough."""
    lines = []
    for finding in findings:
        lines.append(f"  {'✓' if finding.enough else '✗'} {finding.check}: {finding}")
        if not finding.enough:
            lines += [f"    {detail}" for detail in finding.details[:SHOWN_DETAILS]]
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
