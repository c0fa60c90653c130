"""What holds for all tests: with --no-skips a test that needs another library or a long run may not be left out."""

import pytest

# A test with one of these marks needs more than `.[dev]` installs, or more than a moment; `launch/test.sh --extended`
# installs it, so that nothing excuses a skip.
UNEXCUSED = {"beam", "multidevice", "multiprocess", "parity", "pretrained", "slow", "tpu_aot"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        help=f"fail where a whole file, or a test marked {', '.join(sorted(UNEXCUSED))}, is skipped",
    )


def _skipped(config: pytest.Config) -> list[str]:
    """Tests that were skipped though they may not be; a file that skips itself has no marks and counts too."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not config.getoption("--no-skips"):
        return []
    reports = reporter.stats.get("skipped", [])
    return [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in reports
        if isinstance(report, pytest.CollectReport) or UNEXCUSED & set(report.keywords)
    ]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in _skipped(config):
        terminalreporter.write_line(f"SKIPPED, and --no-skips allows none: {line}", red=True)
