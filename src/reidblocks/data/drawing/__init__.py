"""How the synthetic people are drawn."""

from reidblocks.data.drawing.people import contact_sheet, draw_person

__all__ = ["contact_sheet", "draw_person"]
