"""What cannot be read is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

import sigprop as sp


def refused(model: Any, example: Any, *words: str) -> str:
    """The message of the refusal, which is one line and holds every word."""
    with pytest.raises(sp.InputError) as caught:
        sp.read(model, example)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for word in (*words, "accepted: "):
        assert word in message, message
    return message
