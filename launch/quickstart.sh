#!/usr/bin/env bash
# From a clone to answers: makes .venv, installs the package and runs the quickstart experiment.
# Further arguments go to `biomechgpt run`, such as --train.steps 100 with a --workdir of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh
started=$SECONDS
make_environment .
.venv/bin/biomechgpt run configs/quickstart.py --workdir runs/quickstart "$@"
echo "quickstart: $((SECONDS - started)) s in all, installation included"
