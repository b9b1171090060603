/* The bytes of a journal record; graft/journal/format.py owns the layout. */
#ifndef GRAFT_RECORD_H
#define GRAFT_RECORD_H

#include <stdbool.h>
#include <stdint.h>

enum { RECORD_UNSUMMED_BYTES = 80, RECORD_HEADER_BYTES = 88, RECORD_ALIGNMENT = 8 };

typedef struct {
    uint32_t page_size;
    uint64_t local_lsn;
    uint64_t slots;
    uint64_t byte_size;
    uint64_t min_page_count;
    uint64_t timestamp_us;
    bool synced;
    bool after_synced;
} record_header;

static inline uint64_t record_aligned(uint64_t length)
{
    return (length + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

static inline uint64_t record_bodies_offset(uint64_t slots)
{
    return record_aligned(RECORD_HEADER_BYTES + 4 * slots);
}

static inline uint64_t record_bytes(uint64_t slots, uint32_t page_size)
{
    return record_aligned(record_bodies_offset(slots) + slots * page_size);
}

/* Encode the header of an appended record, without the checksum that follows it. */
void record_encode(const record_header *header, uint8_t out[RECORD_UNSUMMED_BYTES]);

void record_put_u32(uint8_t *out, uint32_t value);
void record_put_u64(uint8_t *out, uint64_t value);

#endif
