/* The 64-bit location of a page in the page map; graft/pagemap/locations.py owns the layout. */
#ifndef GRAFT_LOCATION_H
#define GRAFT_LOCATION_H

#include <stdint.h>

#define LOCATION_FRAME_TAG (UINT64_C(1) << 62)
#define LOCATION_JOURNAL_TAG (UINT64_C(1) << 63)

enum {
    LOCATION_SLOT_BITS = 16,
    LOCATION_OFFSET_BITS = 42,
    LOCATION_CHUNK_SHIFT = 12,
    LOCATION_CHUNK_PAGES = 1 << LOCATION_CHUNK_SHIFT,
};

static inline uint64_t location_frame(uint64_t location)
{
    return (location & (LOCATION_FRAME_TAG - 1)) >> LOCATION_SLOT_BITS;
}

static inline uint64_t location_slot(uint64_t location)
{
    return location & ((UINT64_C(1) << LOCATION_SLOT_BITS) - 1);
}

static inline uint64_t location_journal_file(uint64_t location)
{
    return (location & ~LOCATION_JOURNAL_TAG) >> LOCATION_OFFSET_BITS;
}

static inline uint64_t location_journal_offset(uint64_t location)
{
    return location & ((UINT64_C(1) << LOCATION_OFFSET_BITS) - 1);
}

#endif
