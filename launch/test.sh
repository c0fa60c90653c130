#!/usr/bin/env bash
# Lint, types and tests; makes what it needs. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
make_environment '.[dev]'
.venv/bin/ruff check .
.venv/bin/mypy
JAX_PLATFORMS=${JAX_PLATFORMS:-cpu} .venv/bin/python -m pytest -q "$@"
