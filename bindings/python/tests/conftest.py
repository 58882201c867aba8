from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture(autouse=True)
def _no_handler_is_left() -> Iterator[None]:
    known = set(logging._handlerList)  # type: ignore[attr-defined]
    yield
    for reference in set(logging._handlerList) - known:  # type: ignore[attr-defined]
        handler = reference()
        if handler is not None:
            handler.close()
            logging.getLogger().removeHandler(handler)
