"""The paper's ablations and the baselines, as rows of tables: what is changed, what is compared."""

from collections.abc import Mapping
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
    """Give every table by its name; sizes follow those of ``base``.

    >>> list(studies(MDPRConfig()))
    ['baselines', 'M', 'K', 'guidance', 'features', 'hard', 'soft', 'parts', 'beta']
    """
    dim, maps, beta = base.embed_dim, base.num_maps, base.beta
    hard = tuple(f"hard_p{n + 1}" for n in range(base.num_parts))
    single_hard = Row("hard branch alone, its own training", {"branches": "hard"})
    single_soft = Row("soft branch alone, its own training", {"branches": "soft"})
    stripes = {"network": "pcb", "num_parts": 4}
    return {
        "baselines": Study(
            "Baselines",
            (
                Row("BNNeck baseline: global GeM, triplet and ID loss", {"network": "bnneck"}),
                Row("PCB-style: 4 stripes", stripes),
                Row("MGN-style: whole, halves, quarters", {"network": "mgn"}),
                single_hard,
                single_soft,
                Row("MDPR, circle loss over pairs", {"circle": "pair"}),
                Row("MDPR, circle loss over classes", {"circle": "class"}),
            ),
            reference=0,
        ),
        "M": Study(
            "Table V: embedding size M",
            tuple(Row(f"M = {m}", {"embed_dim": m}) for m in (dim // 2, dim, dim + dim // 2)),
            reference=1,
        ),
        "K": Study(
            "Table VI: attention maps K",
            tuple(Row(f"K = {k}", {"num_maps": k}) for k in (maps, 2 * maps, 4 * maps)),
            reference=0,
        ),
        "guidance": Study(
            "Table VII: attention guidance",
            (Row("with", {"guidance": True}), Row("without", {"guidance": False})),
            reference=0,
        ),
        "features": Study(
            "Table VIII: features to search with",
            (
                *(Row(name, {}, (name,)) for name in ("hard_g5", *hard)),
                Row("hard", {}, ("hard",)),
                single_hard,
                *(Row(name, {}, (name,)) for name in ("soft_g5", "soft_g4")),
                Row("soft", {}, ("soft",)),
                single_soft,
                Row("fusion", {}, ("fusion",)),
                Row("hard, soft", {}, ("hard", "soft")),
                Row("hard, soft, fusion", {}, ("hard", "soft", "fusion")),
            ),
            reference=9 + base.num_parts,
        ),
        "hard": Study(
            "Table VIII: the hard branch, trained within MDPR and alone",
            (Row("within MDPR", {}, ("hard",)), single_hard),
            reference=0,
        ),
        "soft": Study(
            "Table VIII: the soft branch, trained within MDPR and alone",
            (Row("within MDPR", {}, ("soft",)), single_soft),
            reference=0,
        ),
        "parts": Study(
            "Table IX: distillation, fusion, two networks",
            tuple(
                Row(title, {"distillation": taught, "fusion": fused, "separate_networks": two})
                for title, taught, fused, two in (
                    ("neither", False, False, False),
                    ("distillation", True, False, False),
                    ("fusion", False, True, False),
                    ("distillation and fusion", True, True, False),
                    ("two networks, neither", False, False, True),
                    ("two networks, distillation and fusion", True, True, True),
                )
            ),
            reference=3,
        ),
        "beta": Study(
            "Table X: β of the attention diversity",
            tuple(
                Row(f"β = {value:g}", {"beta": value})
                for value in (0.0, 100 * beta, 10 * beta, beta, beta / 10)
            ),
            reference=3,
        ),
    }
