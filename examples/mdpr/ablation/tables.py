"""The paper's ablations and the baselines, as rows of tables: what is changed, what is compared."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from config import MDPRConfig


class Row(NamedTuple):
    """One line of a table: fields changed against the base, features to search with."""

    title: str
    changes: Mapping[str, Any] = {}
    features: tuple[str, ...] = ()  # groups or single ones; none stands for all there are


class Study(NamedTuple):
    """One table. Every other row is compared with the row ``reference``."""

    title: str
    rows: tuple[Row, ...]
    reference: int


def studies(base: MDPRConfig) -> dict[str, Study]:
    """Return every table by its name; sizes follow those of ``base``."""
    dim, maps, beta = base.embed_dim, base.num_maps, base.beta
    hard = tuple(f"hard_p{n + 1}" for n in range(base.num_parts))
    alone_too = ("hard_g5", *hard, "hard", "soft_g5", "soft_g4", "soft", "fusion")
    sets = *((name,) for name in alone_too), ("hard", "soft"), ("hard", "soft", "fusion")
    searched = [names for names in sets if base.fusion or "fusion" not in names]
    alone = {
        branch: Row(f"{branch} branch alone, its own training", {"branches": branch})
        for branch in ("hard", "soft")
    }
    bnneck = Row("BNNeck baseline: global GeM, triplet and ID loss", {"network": "bnneck"})
    mdpr = "MDPR" if base.fusion else "MDPR without fusion"
    others = (
        Row("PCB-style: 4 stripes", {"network": "pcb", "num_parts": 4}),
        Row("MGN-style: whole, halves, quarters", {"network": "mgn"}),
        *alone.values(),
        Row(f"{mdpr}, circle loss over pairs", {"circle": "pair"}),
        Row(f"{mdpr}, circle loss over classes", {"circle": "class"}),
    )
    parts = {
        "neither": (False, False, False),
        "distillation": (True, False, False),
        "fusion": (False, True, False),
        "distillation and fusion": (True, True, False),
        "two networks, neither": (False, False, True),
        "two networks, distillation and fusion": (True, True, True),
    }
    switches = "distillation", "fusion", "separate_networks"
    guidance = Row("with", {"guidance": True}), Row("without", {"guidance": False})
    features = [Row(", ".join(names), {}, names) for names in searched]
    sizes = dim // 2, dim, dim + dim // 2
    return {
        "baselines": Study("Baselines", (bnneck, *others), 0),
        "M": varied("Table V: embedding size M", "M", "embed_dim", sizes, 1),
        "K": varied("Table VI: attention maps K", "K", "num_maps", (maps, 2 * maps, 4 * maps), 0),
        "guidance": Study("Table VII: attention guidance", guidance, 0),
        "features": Study(
            "Table VIII: features to search with", (*features, *alone.values()), len(features) - 1
        ),
        **{
            branch: Study(f"Table VIII: the {branch} branch, trained within MDPR and alone",
                          (Row("within MDPR", {}, (branch,)), row), 0)
            for branch, row in alone.items()
        },
        "parts": Study(
            "Table IX: distillation, fusion, two networks",
            tuple(Row(n, dict(zip(switches, on, strict=True))) for n, on in parts.items()),
            3 if base.fusion else 1,
        ),
        "beta": varied(
            "Table X: β of the attention diversity", "β", "beta",
            (0.0, 100 * beta, 10 * beta, beta, beta / 10), 3,
        ),
    }  # fmt: skip


def varied(title: str, sign: str, field: str, values: Sequence[float], reference: int) -> Study:
    """Return the table of one field's values."""
    return Study(title, tuple(Row(f"{sign} = {v:g}", {field: v}) for v in values), reference)
