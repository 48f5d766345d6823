"""A release is proved again before a channel names it, by the checks of export."""

import sys
from pathlib import Path
from typing import Any

from ollamake.ollama.deploy import listed
from ollamake.ollama.gguf_header import TOKENS, begin_of_text, read_header
from ollamake.ollama.served import Proof
from ollamake.ollama.verify import verify
from ollamake.release.channels import TagServer, require_there
from ollamake.release.errors import ReleaseError
from ollamake.release.record import Evidence, Record, read_evidence, recorded_model

BEGIN_ID = "tokenizer.ggml.bos_token_id"


def evidence_of(proof: Proof, gguf: Path) -> Evidence:
    """Return what a release is proved with once its GGUF is gone: all that the checks read of the file."""
    header = read_header(gguf)
    begin = begin_of_text(header)
    return Evidence(proof=proof, header={key: value for key, value in header.items() if key != TOKENS}, begin=begin)


def header_of(record: Record) -> dict[str, Any]:
    """Return the metadata of the release's GGUF, as far as the checks read it. Raises ReleaseError."""
    evidence = read_evidence(record)
    header = dict(evidence.header)
    if evidence.begin:
        header[TOKENS] = [evidence.begin] * (header[BEGIN_ID] + 1)  # the only token that the checks look up
    return header


def prove(server: TagServer, record: Record) -> dict[str, str]:
    """Return the checks that the release's own tag passed just now.

    Raises ReleaseError for a release that is not in the server, and with what each check found where one failed.
    """
    require_there(server, record, server.digests())
    model, header = recorded_model(record, Path(record.serving.gguf)), header_of(record)
    print(f"proving {record.tag} on {len(model.proof.prompts)} prompts", file=sys.stderr, flush=True)
    findings = verify(server, record.tag, model, header)
    if not all(finding.enough for finding in findings):
        raise ReleaseError(
            "\n".join([f"{record.tag} does not behave as it was released", *listed(findings)]),
            where=server.url,
            hint=f"no channel was moved; `ollama rm {record.tag} && python -m ollamake release deploy "
            f"{record.version}` makes it anew",
        )
    return {finding.check: str(finding) for finding in findings}
