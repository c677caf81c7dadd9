import torch
from torch import nn

import sigprop as sp

WORDS, TOKENS, HEAD = 16, 8, 16
BASE, TARGET = {"width": 32, "depth": 2}, {"width": 128, "depth": 8}
MATRICES = ("q", "k", "v", "u", "w", "x")
ADAMW = {
    **dict.fromkeys(MATRICES, 3e-4),
    **dict.fromkeys(("bias", "norm", "final_norm"), 1e-3),
    **dict.fromkeys(("embedding", "position"), 3e-3),
    "readout": 2e-4,
}
RATES = {
    "adamw": ADAMW,
    "muon": {**ADAMW, **dict.fromkeys(MATRICES, 3e-3)},
    "sgd": {**dict.fromkeys(ADAMW, 0.3), "readout": 0.01},
}
"""Those of the base, as it was tuned."""
PATTERNS = {
    "embedding": "embed.weight",
    "position": "positions",
    **{name: f"*.{name}.weight" for name in MATRICES},
    "bias": "*.[wx].bias",
    "norm": "*.norm[12].*",
    "final_norm": "norm.*",
    "readout": "head.weight",
}


class Block(nn.Module):
    def __init__(self, n: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.norm1, self.norm2 = nn.LayerNorm(n), nn.LayerNorm(n)
        self.q, self.k, self.v, self.u = (nn.Linear(n, n, bias=False) for _ in range(4))
        self.w, self.x = nn.Linear(n, 4 * n), nn.Linear(4 * n, n)

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            matrix(x).unflatten(-1, (-1, HEAD)).transpose(1, 2)
            for matrix in (self.q, self.k, self.v)
        )
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.u(mixed.transpose(1, 2).flatten(2))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        h = h + self.factor * self.attention(self.norm1(h))
        return h + self.factor * self.x(nn.functional.gelu(self.w(self.norm2(h))))


class Model(nn.Module):
    """The target's sizes, multiplier of branches and std of the read-out are the plan's."""

    def __init__(self, plan: sp.Prescription) -> None:
        super().__init__()
        n, depth = (plan.parameters["target"][size] for size in ("width", "depth"))
        factor = plan.value("residual", "multiplier")
        self.embed, self.positions = nn.Embedding(WORDS, n), nn.Parameter(torch.randn(TOKENS, n))
        self.blocks = nn.Sequential(*(Block(n, factor) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(n), nn.Linear(n, WORDS, bias=False)
        for name, p in self.blocks.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.ndim == 2:
                nn.init.normal_(p, std=p.shape[1] ** -0.5)
        nn.init.normal_(self.head.weight, std=plan.value("readout", "init_std"))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embed(words) + self.positions)))


def prescribed(target: dict[str, int], optimizer: str) -> sp.Prescription:
    return sp.prescribe(
        "transformer",
        base=BASE,
        target=target,
        optimizer=optimizer,
        learning_rate=RATES[optimizer],
        multiplier=BASE["depth"] ** -0.5,
        init={"readout": 1 / BASE["width"]},
        residual_scale="1/sqrt(L)",
        mask="causal",
        head_dim=HEAD,
        final_norm=True,
        words=range(TOKENS),
        vocabulary=WORDS,
        c_pe=1,
    )


def train(plan: sp.Prescription, seed: int, steps: int = 20) -> tuple[float, float, float]:
    """Return how much the output has changed, root mean square, and the loss before and after."""
    torch.manual_seed(seed)
    words = torch.randint(WORDS, (2, TOKENS + 1))
    model = Model(plan)
    optimizers = sp.torch_optimizers(model, plan, PATTERNS)
    losses, before = [], model(words[:, :-1]).detach()
    for _ in range(steps):
        logits = model(words[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), words[:, 1:].flatten())
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        losses.append(loss.item())
    change = (model(words[:, :-1]).detach() - before).square().mean().sqrt()
    return change.item(), losses[0], losses[-1]
