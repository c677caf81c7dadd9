"""Values of parameters as they are given, checked by the one table of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sigprop.errors import InputError, near_miss
from sigprop.registry import readers
from sigprop.registry.parameters import PARAMETERS, Parameter


def _shown(value: object) -> str:
    """Return the value's repr on one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python refuses to print integers of more than 4300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def read_parameter(name: str, value: object, parameter: Parameter | None = None) -> Any:
    """Return the checked value of parameter ``name`` (that of the table, unless declared
    otherwise); raises ``InputError`` with what came and what would be accepted."""
    parameter = parameter or PARAMETERS[name]
    try:
        return parameter.read(value)
    except InputError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        detail = f" ({error})" if isinstance(error, readers.Trouble) else ""
        raise InputError(f"{name}={_shown(value)}{detail}; accepted: {parameter.accepts}") from None


def read_parameters(
    owner: str,
    given: Mapping[str, object],
    defaults: Mapping[str, object],
    parameters: Mapping[str, Parameter] = PARAMETERS,
) -> dict[str, Any]:
    """Return defaults overlaid with what was given, all checked; an unknown name raises
    ``InputError`` with the nearest that there is."""
    for name in given:
        if name not in defaults:
            raise InputError(f"{owner} has no parameter {name!r}{near_miss(name, defaults)}")
    merged = {**defaults, **given}
    unset = {name for name, value in merged.items() if value is None and defaults[name] is None}
    return {
        name: None if name in unset else read_parameter(name, value, parameters[name])
        for name, value in merged.items()
    }
