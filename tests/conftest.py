"""Fixtures for the whole suite; no test reaches a network."""

import gc
import os
import socket
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings

# The same examples in every run, so that a failure belongs to the change that is tested. To look for others:
# python -m pytest --hypothesis-profile=explore
settings.register_profile("same", derandomize=True)
settings.register_profile("explore", derandomize=False)
settings.load_profile("same")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# As many tests run at once as there are cores: with more threads each would wait for the others most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_finish():
    """Leave all that was imported out of garbage collections: every training begins with one."""
    gc.freeze()


@pytest.fixture(autouse=True)
def no_settings():
    """Leave out the settings of whoever runs the tests, and undo what a test sets: choosing a preset sets some."""
    with patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("FLAN_") and name != "FLAN_REAL_DATA"]:
            del os.environ[name]
        yield


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Refuse connections to anything but this machine, so that an accidental download fails loudly."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in {"127.0.0.1", "localhost", "::1"}:
            raise OSError(f"test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real public rows (FLAN_REAL_DATA); the test is skipped where there is none."""
    folder = Path(os.environ.get("FLAN_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"no real rows at {folder}: set FLAN_REAL_DATA to a folder that has them")
    return folder
