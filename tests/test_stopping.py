"""Ctrl-C while large libraries are imported."""

import contextlib
import os
import signal

import pytest

from engine.cli.stopping import reraise_interrupt


def test_a_ctrl_c_that_a_library_catches_is_not_lost():
    before = signal.getsignal(signal.SIGINT)
    after = []
    with pytest.raises(KeyboardInterrupt), reraise_interrupt():
        with contextlib.suppress(BaseException):  # like an import with a bare except
            os.kill(os.getpid(), signal.SIGINT)
        after.append("the import goes on")
    assert after and signal.getsignal(signal.SIGINT) is before
    with reraise_interrupt():
        pass  # without a signal nothing is raised
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with reraise_interrupt():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
