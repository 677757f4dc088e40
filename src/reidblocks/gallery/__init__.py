"""People kept on disk and searched (extra ``gallery``: LanceDB)."""

from reidblocks.gallery.gallery import Gallery
from reidblocks.gallery.rows import GalleryMatch, GalleryPerson

__all__ = ["Gallery", "GalleryMatch", "GalleryPerson"]
