"""The page store: pages in immutable segments in object storage."""

from pagestore.errors import (
    CorruptObject,
    LimitReached,
    ObjectNotFound,
    PageStoreError,
    StorageFull,
    StoreRefused,
    StoreUnavailable,
    UnsafeStore,
    UnsupportedFormat,
)
from pagestore.ids import SegmentId
from pagestore.keys import LIST_PAGE_KEYS, check_key, check_key_prefix, check_limit, check_range
from pagestore.objectstore import Data, ObjectInfo, ObjectStore, UnfinishedUpload
from pagestore.pages import PageIdx
from pagestore.pageset import PageSet
from pagestore.stores.metered import MeteredStore, StoreTraffic
from pagestore.urls import open_store

__all__ = [
    "LIST_PAGE_KEYS",
    "CorruptObject",
    "Data",
    "LimitReached",
    "MeteredStore",
    "ObjectInfo",
    "ObjectNotFound",
    "ObjectStore",
    "PageIdx",
    "PageSet",
    "PageStoreError",
    "SegmentId",
    "StorageFull",
    "StoreRefused",
    "StoreTraffic",
    "StoreUnavailable",
    "UnfinishedUpload",
    "UnsafeStore",
    "UnsupportedFormat",
    "check_key",
    "check_key_prefix",
    "check_limit",
    "check_range",
    "open_store",
]
