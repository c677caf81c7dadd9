"""An architecture that is like no registered one, from sub-blocks: MLPs with a trained gate beside
linear adapters that read a running mean of the stream. No law says how its rates go with depth."""

from __future__ import annotations

from typing import Annotated, Any

import sigprop as sp
from sigprop import Activate, Gate, Linear, Normalise, Number, Parameter, Read, State, Stem, Write
from sigprop.registry import readers

EPS, MU, GAMMA = Number("epsilon", r"\varepsilon"), Number("mu", r"\mu"), Number("gamma", r"\gamma")
MLP = Gate(GAMMA, Linear("x", Activate("gelu", Linear("w", Read(0), 1)), 2), "scale")
BLOCK = sp.SubBlock(
    reads=(Normalise(State(0)), Normalise(State(1))),
    branch=MLP + Linear("a", Read(1), 0.3),
    rule=(State(0) + EPS * Write(), MU * State(1) + (1 - MU) * State(0)),
)


@sp.register("remembering", reference="tests/helpers/own_family.py")
def remembering(
    *,
    depth: Any = 4,
    memory: Annotated[
        float, Parameter("share of the mean that stays", "0 to 1", readers.number(0, 1))
    ] = 0.7,
) -> sp.Architecture:
    """Gated MLPs, and adapters that read a running mean of the stream."""
    return sp.Architecture(
        "remembering",
        (BLOCK,),
        range(depth),  # slots: every block has weights of its own
        numbers={"epsilon": "1/sqrt(L)", "mu": memory, "gamma": 0.5},
        initial=(Stem(), Stem()),
        sizes={"N": 1, "L": depth, "S": depth},
        parameters={"depth": depth, "memory": memory},
        family=sp.Family(
            lambda L, N: remembering(depth=L, memory=memory), (sp.SlotClass("S", "1"),)
        ),
    )


def judged(rule: str, **given: Any) -> sp.Table:
    """Real steps of AdamW, of networks of width 64 and of these depths."""
    chosen: dict[str, Any] = {"ladders": {"depth": (2, 4, 8, 16)}, "width": 64} | given
    return sp.check(remembering(), parametrisation=rule, variables=["depth"], **chosen)


if __name__ == "__main__":
    print(sp.first_step(remembering(depth=2), "adam"))
    sizes = {"width": 64, "depth": 4}, {"width": 256, "depth": 16}
    print(sp.prescribe("remembering", base=sizes[0], target=sizes[1], learning_rate=3e-3))
    print(judged("prescribed"))  # confirmed
    print(judged("naive"))  # rejected, and the groups whose rates are wrong
