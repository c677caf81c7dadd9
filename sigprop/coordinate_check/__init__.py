"""The coordinate check as a test: real optimiser steps on ladders of finite networks
(docs/check.md)."""
