"""Pictures leave matplotlib's global state alone and look the same under any style."""

import subprocess
import sys

import matplotlib
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from reidblocks import visualization as vis

PERSON = torch.rand(3, 32, 16)
PAIRS = vis.PairDistances(torch.rand(20), torch.rand(30) + 0.5)
MATCHES = [vis.RankedImage(PERSON, True, 0.1, 1), vis.RankedImage(PERSON, False, 0.2, 2)]
QUERIES = [vis.RankedQuery(PERSON, MATCHES, "id 1", 1, 0.5)]
RECORDS = [vis.TrainingRecord(n, {"total": 1.0}, {"mAP": 0.5}) for n in range(3)]
FOUND = [vis.FoundImage(PERSON, 0.1, "$a$", 1), vis.FoundImage(PERSON, 0.7, near=False)]
FIGURES = {
    "answer_sheet": lambda: vis.answer_sheet([vis.FoundPerson(PERSON, "$a$", FOUND)], title="$a$"),
    "attention_overlay": lambda: vis.attention_overlay(
        [PERSON], {"A4": torch.rand(1, 2, 4, 2)}, title="$A_4$"
    ),
    "batch_sheet": lambda: vis.batch_sheet([PERSON], ["$1"], title="$A$ batch"),
    "cmc_curves": lambda: vis.cmc_curves({"_$m$": [0.5, 1.0]}, title="$a$"),
    "distance_histogram": lambda: vis.distance_histogram(PAIRS, 0.5, title="$a$"),
    "embedding_map": lambda: vis.embedding_map(torch.rand(9, 4), range(9), title="$a$"),
    "precision_recall_curves": lambda: vis.precision_recall_curves({"$m$": PAIRS}),
    "ranked_list": lambda: vis.ranked_list(QUERIES, title="$a$"),
    "track_strip": lambda: vis.track_strip([PERSON], times=[1], correct=[True], title="$a$"),
    "training_curves": lambda: vis.training_curves(RECORDS, title="$a$"),
    "worst_queries": lambda: vis.worst_queries(QUERIES),
}


def test_every_picture_is_in_the_list():
    drawing = {
        name
        for name in vis.__all__
        if getattr(getattr(vis, name), "__annotations__", {}).get("return") is Figure
    }
    assert drawing == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_every_picture_is_saved(name, kind, tmp_path):
    FIGURES[name]().savefig(tmp_path / f"picture.{kind}")
    assert (tmp_path / f"picture.{kind}").stat().st_size > 1000


@pytest.mark.parametrize("name", FIGURES)
def test_settings_stay_as_they_were(name):
    before = dict(matplotlib.rcParams)
    FIGURES[name]().canvas.draw()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_dark_on_white_under_a_dark_style(name):
    dark = {
        "text.color": "white",
        "axes.labelcolor": "white",
        "axes.titlecolor": "white",
        "xtick.color": "white",
        "ytick.color": "white",
        "xtick.labelcolor": "white",
        "ytick.labelcolor": "white",
        "axes.edgecolor": "white",
        "axes.facecolor": "black",
        "figure.facecolor": "black",
        "savefig.facecolor": "auto",
    }
    with matplotlib.rc_context(dark):
        figure = FIGURES[name]()
        figure.canvas.draw()
    assert to_rgb(figure.get_facecolor()) == (1, 1, 1)
    for axes in figure.axes:
        assert not axes.axison or to_rgb(axes.get_facecolor()) == (1, 1, 1)
    for text in figure.findobj(Text):
        if text.get_text().strip():
            luminance = sum(
                w * c for w, c in zip((0.21, 0.72, 0.07), to_rgb(text.get_color()), strict=True)
            )
            assert luminance < 0.6, text.get_text()


def test_pyplot_is_never_imported(tmp_path):
    program = """
import sys, torch
from reidblocks import visualization as vis
person = torch.rand(3, 16, 8)
pairs = vis.PairDistances(torch.rand(5), torch.rand(5))
match = vis.RankedImage(person, True, 0.1)
for figure in (
    vis.ranked_list([vis.RankedQuery(person, [match])]),
    vis.attention_overlay([person], {"A": torch.rand(1, 2, 4, 2)}),
    vis.training_curves([vis.TrainingRecord(1, {"a": 1.0}, {"mAP": 0.5})]),
    vis.distance_histogram(pairs),
    vis.precision_recall_curves({"a": pairs}),
    vis.cmc_curves({"a": [0.5]}),
    vis.batch_sheet([person], [1]),
    vis.embedding_map(torch.rand(4, 3)),
):
    figure.savefig("picture.png")
assert "matplotlib.pyplot" not in sys.modules
"""
    environment = {"MPLBACKEND": "TkAgg", "PATH": "", "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)
