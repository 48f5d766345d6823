"""What was trained on what, and how it went."""

from collections.abc import Iterator

from ollamake.report.charts import GAP, TRAIN_LOSS, VAL_LOSS
from ollamake.report.document import Facts, Figures, Section, last_part
from ollamake.report.markdown import bullets, code, plain, table

NONE = "none"
SPLITS = ("train", "val", "test")
ORIGINS = ("hub_id", "model", "requirement", "file", "quantization")


def data(facts: Facts) -> Section:
    """Return the section about the base model and the data."""
    parts = [_base(facts.base, facts.base_name), *_rows(facts), _splits(facts.tokenize), *_left_out(facts)]
    return Section("Trained on what", "\n\n".join(parts))


def _base(base: Figures, name: str) -> str:
    source = base["source"]
    origin = ", ".join(code(last_part(str(source[key]))) for key in ORIGINS if source.get(key))
    rows = [
        ["base model", code(name)],
        ["from", origin or plain(source["kind"])],
        ["revision", code(base["revision"])],
        ["architecture", plain(base["architecture"])],
        ["license", plain(base["license"])],
    ]
    return table(["", ""], rows, left=2)


def _rows(facts: Facts) -> Iterator[str]:
    found, source = facts.prepare, code(last_part(facts.settings.data_source))
    kept = ", ".join(f"{count:,} {split}" for split, count in found["kept"].items())
    yield f"The data is {source}: {found['rows']:,} rows, of which {kept} after every check."
    if len(sources := found.get("sources", {})) > 1:
        rows = [[plain(last_part(name)), f"{each['rows']:,}", f"{each['kept']:,}"] for name, each in sources.items()]
        yield table(["source", "rows", "kept"], rows)
    if tasks := found.get("tasks"):
        yield table(["task", "rows"], [[plain(name) or "–", f"{count:,}"] for name, count in tasks.items()])
    if (teacher := facts.distill["teacher"]) != NONE:
        answered = ", ".join(f"{facts.distill[split]['answered']:,} {split}" for split in ("train", "val"))
        yield f"The answers it learned are those of {code(teacher)} ({answered}), not the data's own."


def _splits(tokenize: Figures) -> str:
    rows = [
        [
            split,
            f"{each['rows']:,}",
            f"{each['tokens']:,}",
            f"{each['supervised_tokens']:,}",
            f"{each['length_p50']:,}",
            f"{each['length_max']:,}",
        ]
        for split in SPLITS
        if (each := tokenize[split])["rows"]
    ]
    head = ["split", "conversations", "tokens", "with loss", "median length", "longest"]
    return table(head, rows)


def _left_out(facts: Facts) -> Iterator[str]:
    prepare = facts.prepare
    found = [
        f"{count:,} × {plain(reason)}"
        for kind in ("rejected", "left_out")
        for reason, count in prepare.get(kind, {}).items()
    ]
    if copies := prepare["duplicates"] + prepare["near_duplicates"]["dropped"]:
        found.append(f"{copies:,} × a duplicate, or nearly one")
    found += [
        f"{count:,} × {plain(reason)} ({split})"
        for split in SPLITS
        for reason, count in facts.tokenize[split]["dropped"].items()
    ]
    if found:
        yield "Left out:\n\n" + bullets(found)


def course(facts: Facts) -> Section:
    """Return the section about the method and the course of training."""
    train = facts.train
    overfitting = train["overfitting"]["verdict"]
    lines = [
        f"{train['steps']:,} steps, the model of step {train['shipped_step']:,} is shipped",
        f"validation loss {train['best_val_loss']:.3f} nats a token at its best, at step {train['best_step']:,}",
        "no sign of overfitting" if overfitting == NONE else f"overfitting {plain(overfitting)}",
        f"{train['tokens']:,} tokens were trained on, {train['trainable_parameters']:,} weights were free to change",
    ]
    if "stopped_early" in train:
        lines.append(f"ended early at step {train['stopped_early']:,}: the validation loss had stopped falling")
    body = f"{table(['parameter', 'value'], _settings(facts), left=2)}\n\n{bullets(lines)}"
    return Section("How it was trained", body, (TRAIN_LOSS, VAL_LOSS, GAP))


def _settings(facts: Facts) -> Iterator[list[str]]:
    settings, train = facts.settings, facts.train
    adapter = {"lora_rank": settings.lora_rank, "lora_alpha": settings.lora_alpha} if settings.method != "full" else {}
    length = {"max_steps": settings.max_steps} if settings.max_steps else {"num_epochs": settings.num_epochs}
    named = {
        "task": settings.task,
        "method": settings.method,
        **adapter,
        "optimizer": settings.optimizer,
        "learning_rate": settings.learning_rate,
        "lr_scheduler": settings.lr_scheduler,
        "per_device_batch_size": train["per_device_batch_size"],
        "gradient_accumulation_steps": train["gradient_accumulation_steps"],
        **length,
        "train_seed": settings.train_seed,
        "system_prompt": settings.system_prompt or "none",
    }
    yield from ([code(name), plain(str(value))] for name, value in named.items())
