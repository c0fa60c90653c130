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
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv || {
      echo "cannot make .venv: on Debian or Ubuntu, run: apt install python3-venv" >&2
      return 1
    }
  fi
  stamp=.venv/installed.sha256
  wanted=$(cat pyproject.toml constraints.txt <(echo "$1") | sha256sum)
  if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    echo "installing (about a minute)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$1"
    echo "$wanted" >"$stamp"
  fi
}
