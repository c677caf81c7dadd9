"""Optimiser steps of finite networks."""
