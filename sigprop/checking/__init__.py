"""The coordinate check as a test: real optimiser steps on ladders of finite networks (docs/check.md)."""

from __future__ import annotations

from sigprop.checking.battery import MOST, NETWORKS, check

__all__ = ["MOST", "NETWORKS", "check"]
