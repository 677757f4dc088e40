"""The check for overlapping texts is itself checked: it must be able to fail."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def test_touching_texts_are_found(unreadable):
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, "one")
    figure.text(0.51, 0.5, "two")
    figure.text(0.1, 0.1, "three")
    assert unreadable(figure) == [("one", "two")]


def test_text_beyond_the_edge_is_found(unreadable):
    figure = Figure()
    FigureCanvasAgg(figure)
    figure.text(0.99, 0.5, "a long text")
    assert unreadable(figure) == [("", "a long text")]
