"""What training leaves behind of its course: the curves and the summary for DVC, and a journal in logs/."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dvclive import Live

from ollamake.errors import OllamakeError
from ollamake.files import sync, write_json
from ollamake.training.journal import Journal
from ollamake.training.launch import is_main
from ollamake.training.watch import SERIES, figures


class Curves(Live):
    """DVCLive with this project's paths and summary, which touches neither dvc.yaml nor the experiment."""

    def __init__(self, metrics_file: str, plots_dir: str) -> None:
        self._metrics_file, self._plots_dir = metrics_file, plots_dir
        self.result: dict[str, Any] = {}
        super().__init__(dir=plots_dir, dvcyaml=None, save_dvc_exp=False, report=None)

    @property
    def metrics_file(self) -> str:
        """Where the summary goes."""
        return self._metrics_file

    @property
    def plots_dir(self) -> str:
        """Under which folder the curves go, each to `metrics/<name>.tsv`."""
        return self._plots_dir

    def make_summary(self) -> None:
        """Write `result` in place of the last point of every curve, which sums nothing up."""
        write_json(Path(self._metrics_file), self.result)


class TrainingLog:
    """The log of one training, to be used in a `with`; of several processes only the first writes anything.

    What is put into `summary` goes to `metrics_file` at the end, and nothing does when training failed. What is put
    into `closing` is done at the end in any case, or when training begins again.
    """

    def __init__(self, metrics_file: str, plots_dir: str) -> None:
        self.summary: dict[str, Any] = {}
        self.closing = ExitStack()
        self.writes = is_main()
        self._curves = Path(plots_dir) / "metrics"
        if self.writes:
            self._live, self._journal = Curves(metrics_file, plots_dir), Journal("train")

    def restart(self, history: Iterable[Mapping[str, Any]]) -> None:
        """Begin every curve anew with the points of `history`: none, or those of the training that goes on.

        A curve without points keeps its header, because DVC wants a file for each that it was promised.
        """
        self.closing.close()
        if self.writes:
            self._curves.mkdir(parents=True, exist_ok=True)
            for name in SERIES:
                (self._curves / f"{name}.tsv").write_text(f"step\t{name}\n", encoding="utf-8")
            for entry in history:
                self.add(entry)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add an entry of the Trainer's history to the curves."""
        if self.writes:
            self._live.step = entry["step"]
            for name, value in figures(entry).items():
                self._live.log_metric(name, value)

    def note(self, text: str) -> None:
        """Write the lines of `text` to the journal, each with the time."""
        if self.writes:
            self._journal.write(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.closing.close()
        if not self.writes:
            return
        if error is None:
            self._live.result = self.summary
            self._live.end()
            for file in (Path(self._live.metrics_file), *self._curves.glob("*.tsv")):
                sync(file)  # DVCLive does not, and DVC is about to record them
            self.note(f"done: {self.summary}")
        else:
            self.note(str(error) if isinstance(error, OllamakeError) else f"ended by {error!r}")
        self._journal.close()
