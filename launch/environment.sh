# Sourced by the scripts beside it: finds Python, makes .venv and installs the package into it.

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Python 3.11 or newer is needed; install it, or set PYTHON to its path" >&2
  return 1
}

# make_environment WHAT: install WHAT (such as . or .[dev]) unless these very requirements are installed already.
make_environment() {
  local python stamp wanted
  if [ ! -e .venv ]; then
    python=$(find_python) || return 1
    # A .venv without pip is of no use, and would be taken for a good one the next time.
    if ! "$python" -c 'import ensurepip' 2>/dev/null || ! "$python" -m venv .venv; then
      rm -rf .venv
      echo "cannot make .venv: on Debian or Ubuntu, run: apt install python3-venv" >&2
      return 1
    fi
  fi
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo ".venv has no working python with pip; remove it and run this again" >&2
    return 1
  fi
  stamp=.venv/installed.${1//[^a-z]/}.sha256
  wanted=$(cat pyproject.toml constraints.txt | sha256sum)
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    echo "installing (about a minute)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$1"
    echo "$wanted" >"$stamp"
  fi
}
