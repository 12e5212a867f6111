"""What the command line says to people on a terminal."""

from __future__ import annotations

import pytest
from codemae_cli.console import RichReporter


def test_brackets_in_a_warning_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = RichReporter()
    reporter.warning("nodata", "/maps/[old]/scene [/new].tif is empty")
    reporter.close()
    assert "/maps/[old]/scene [/new].tif is empty" in capsys.readouterr().err
