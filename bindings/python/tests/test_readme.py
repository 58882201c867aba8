"""The programs of the README run."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from support import run

README = Path(__file__).parents[1] / "README.md"

# The heading of each program, what follows it, the package it needs, and the file it logs to.
PROGRAMS = [
    ("# logrotor for Python", "", "", "app.log"),
    (
        "### gunicorn",
        """
import logging.config
from gunicorn.glogging import CONFIG_DEFAULTS
logging.config.dictConfig({**CONFIG_DEFAULTS, **logconfig_dict})
logging.getLogger("gunicorn.error").info("ready")
""",
        "gunicorn",
        "gunicorn.log",
    ),
    ("### uWSGI", "application({'PATH_INFO': '/ready'}, print)", "", "app.log"),
    ("### Celery", "set_up(); logging.info('ready')", "celery", "celery.log"),
    (
        "### Django",
        """
import logging.config
logging.config.dictConfig(LOGGING)
logging.error("ready")
""",
        "",
        "django.log",
    ),
    ("### structlog", "", "structlog", "app.log"),
]


def program(heading: str) -> str:
    section = README.read_text().split(f"{heading}\n", 1)[1]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize(("heading", "rest", "package", "log"), PROGRAMS)
def test_example_logs(heading: str, rest: str, package: str, log: str, tmp_path: Path) -> None:
    if package:
        pytest.importorskip(package)
    start = f"import os, pathlib\nos.chdir({str(tmp_path)!r})\nBASE_DIR = pathlib.Path()\n"
    run(f"{start}{program(heading)}\n{rest}\n")
    assert "ready" in (tmp_path / log).read_text()


def test_example_reads_back(log: Path) -> None:
    log.write_text("one\n")
    text = program("## Reading back")
    assert "follow=True" in text
    found = run(
        f"import os\nos.chdir({str(log.parent)!r})\n" + text.replace("follow=True", "follow=False")
    )
    assert re.fullmatch(r"one .*app\.log 0\n", found)


def test_example_of_building_blocks(tmp_path: Path) -> None:
    found = run(f"import os\nos.chdir({str(tmp_path)!r})\n{program('## Building blocks')}")
    assert found == "{'guests': 20} 2\n"
    assert (tmp_path / "report.txt").read_text() == "line\n"


def test_classes_of_the_readme_exist() -> None:
    names = set(re.findall(r"\b(?:Concurrent)?(?:Timed)?RotatingFileHandler\b", README.read_text()))
    import logrotor

    assert names <= set(logrotor.__all__)
    assert importlib.util.find_spec("logrotor.demo") is not None
