"""The standard library's own tests of its rotating handlers, with ours in their place."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from support import run

# Tests that cannot pass, and why. Their names are patterns.
CANNOT = {
    "test_should_not_rollover": "in one, a log is a directory or device; one passes no record",
    "test_should_not_rollover_non_file": "a log is a regular file",
    "test_should_rollover": "it wants an empty file to be rotated (before Python 3.13)",
    "test_namer_rotator_inheritance": "namer and rotator are refused",
    "test_rollover_filenames": "namer and rotator are refused",
    "test_rotator": "namer and rotator are refused",
    "test_compute_files_to_delete.*": "the log finds its backups itself: no getFilesToDelete",
    "test_compute_rollover_.*": "the log knows its periods itself: no computeRollover",
    "test_rollover": "backups are named by the time to the microsecond",
    "test_rollover_at_midnight": "atTime has seconds there",
    "test_rollover_at_weekday": "weeks end with Sunday",
}

# Those that must pass on every version.
MUST = {
    "RotatingFileHandler": {"test_file_created"},
    "TimedRotatingFileHandler": {"test_invalid"},
}

PROGRAM = """
    import json, logging.handlers, sys, unittest
    import logrotor
    from test import test_logging

    name = sys.argv[1]
    setattr(logging.handlers, name, getattr(logrotor, name))
    case = getattr(test_logging, name + "Test")
    outcome = {}
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(case):
        result = unittest.TestResult()
        test.run(result)
        problems = [trace for _, trace in result.failures + result.errors]
        outcome[test.id().rsplit(".", 1)[1]] = problems
    print("outcome", json.dumps(outcome))
"""


def cannot(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in CANNOT)


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_logging") is None,
    reason="this Python comes without its tests",
)
@pytest.mark.parametrize("kind", MUST)
def test_stdlib_tests_pass_but_those_with_a_reason(kind: str) -> None:
    outcome = json.loads(run(PROGRAM, kind).rpartition("outcome ")[2].splitlines()[0])
    failed = {name: problems for name, problems in outcome.items() if problems}
    unexpected = {name: failed[name] for name in failed if not cannot(name)}
    assert unexpected == {}
    assert outcome.keys() - failed.keys() >= MUST[kind]
