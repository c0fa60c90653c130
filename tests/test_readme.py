"""README's results are those of this program: nothing that could change them was changed since."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKES_RESULTS = ("biomechgpt_jax", "configs")


def _git(*words: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout


def _meaning(source: str) -> str:
    """A module without comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return ast.dump(tree)


def test_results_are_of_the_last_revision_that_could_change_them() -> None:
    found = re.search(r"in a fresh clone at revision ([0-9a-f]{7,40})", (ROOT / "README.md").read_text())
    assert found, "README does not say which revision its results are of"
    revision = found[1]
    if not (ROOT / ".git").exists() or _git("rev-parse", "--is-shallow-repository").strip() == "true":
        pytest.skip("no history to compare with: this is no clone, or a shallow one")
    changed = _git("diff", "--name-only", revision, "HEAD", "--", *MAKES_RESULTS).split()
    at_head = set(_git("ls-tree", "-r", "--name-only", "HEAD", "--", *MAKES_RESULTS).split())
    before = set(_git("ls-tree", "-r", "--name-only", revision, "--", *MAKES_RESULTS).split())
    other = [
        path
        for path in changed
        if path not in at_head & before
        or not path.endswith(".py")
        or _meaning(_git("show", f"{revision}:{path}")) != _meaning(_git("show", f"HEAD:{path}"))
    ]
    assert not other, (
        f"README shows the results of {revision}, and {', '.join(other)} changed since: run "
        "`bash launch/quickstart.sh` in a fresh clone and put its table and revision into README.md"
    )


def test_wording_is_no_change_of_meaning() -> None:
    one = 'def f(x):\n    """Double."""\n    return 2 * x  # twice\n'
    assert _meaning(one) == _meaning('def f(x):\n    """Times two."""\n\n    return 2*x\n')
    assert _meaning(one) != _meaning(one.replace("2", "3"))
