#!/usr/bin/env bash
# Rendered by `python -m ollamake cloud render` from params.yaml: render it again when that has changed.
# Needs Debian or Ubuntu with NVIDIA's driver, 8 × L40S or better, and the files of this
# repository. Secrets, where the base model or the remote wants any, come from the environment (HF_TOKEN and its like).
set -euo pipefail

TARGET=evaluate
REMOTE='' # of DVC; empty: data and results are copied by hand
GPUS=8

usage() {
    echo "usage: bash $0 install    # packages, as the lock files pin them, in .venv"
    echo "       bash $0 run        # data in, dvc repro $TARGET, results out; goes on where it was stopped"
    exit 2
}

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

find_python() {
    local name
    for name in python3 python3.11 python3.12 python3.13; do
        if "$name" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

install() {
    local missing=() python
    command -v git >/dev/null || missing+=(git)
    command -v make >/dev/null || missing+=(make)
    find_python >/dev/null || missing+=("$(python3 -c 'import sys; v = sys.version_info
print("python3-venv" if v >= (3, 11) else "python3.11-venv")' 2>/dev/null || echo python3-venv)")
    if [ "${#missing[@]}" -gt 0 ]; then
        as_root apt-get update -qq
        as_root apt-get install -qq -y --no-install-recommends "${missing[@]}"
    fi
    python=$(find_python) || fail "there is no Python 3.11 or newer with venv" "install one, then run this again"
    make setup PYTHON="$python"
}

check_gpus() {
    local gpus=${NUM_GPUS:-$(nvidia-smi --list-gpus | wc -l)}
    [ "$gpus" -ge "$GPUS" ] || fail "this machine has $gpus GPUs, num_processes is $GPUS" "rent a larger one, or lower it"
}

# DVC wants a repository, and DVCLive one with a commit; not every way to bring the files here brings .git too.
give_history() {
    if ! git rev-parse --verify --quiet HEAD >/dev/null 2>&1; then
        git init --quiet
        git -c user.name=ollamake -c user.email=ollamake@localhost commit --quiet --allow-empty --message "rented"
    fi
}

run() {
    [ -x .venv/bin/dvc ] || fail "the packages are not installed" "bash $0 install"
    check_gpus
    export PATH="$PWD/.venv/bin:$PATH"
    give_history
    [ -z "$REMOTE" ] || dvc pull --remote "$REMOTE" --run-cache --allow-missing
    if [ "${NODE_RANK:-0}" != 0 ]; then
        # The first machine keeps the results; the others make the same data and lend their GPUs.
        dvc repro fetch tokenize
        exec python -m stages.train
    fi
    dvc repro "$TARGET"
    if [ -n "$REMOTE" ]; then
        dvc push --remote "$REMOTE" --run-cache
        echo "pushed to $REMOTE; to have it: copy dvc.lock, metrics and plots from here, then dvc pull"
    else
        echo "done; to have it: copy dvc.lock, metrics, plots and .dvc/cache from here, then dvc checkout"
    fi
}

cd "$(dirname "$0")/.."
case "${1:-}" in
    install) install ;;
    run) run ;;
    *) usage ;;
esac
