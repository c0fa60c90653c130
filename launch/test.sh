#!/usr/bin/env bash
# Lint, types and tests, in two processes; makes what it needs. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment '.[dev]'
.venv/bin/ruff check .
.venv/bin/mypy
JAX_PLATFORMS=${JAX_PLATFORMS:-cpu} .venv/bin/python -m pytest -q -n 2 --dist loadfile "$@"
