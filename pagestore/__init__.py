"""The page store: pages in immutable segments in object storage."""

from pagestore.ids import SegmentId
from pagestore.objectstore import ObjectInfo, ObjectStore
from pagestore.pages import PageIdx
from pagestore.pageset import PageSet
from pagestore.urls import open_store

__all__ = ["ObjectInfo", "ObjectStore", "PageIdx", "PageSet", "SegmentId", "open_store"]
