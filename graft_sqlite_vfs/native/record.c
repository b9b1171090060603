#include "record.h"

#include <string.h>

enum { VERSION = 1, SYNCED = 1, AFTER_SYNCED = 2 };

static const char magic[8] = {'g', 'r', 'f', 't', 'j', 'r', 'n', 'l'};

static void put(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

void record_put_u32(uint8_t *out, uint32_t value)
{
    put(out, value, 4);
}

void record_put_u64(uint8_t *out, uint64_t value)
{
    put(out, value, 8);
}

void record_encode(const record_header *header, uint8_t out[RECORD_UNSUMMED_BYTES])
{
    memcpy(out, magic, sizeof magic);
    put(out + 8, VERSION, 2);
    out[10] = 0; /* cipher */
    out[11] = (uint8_t)((header->synced ? SYNCED : 0) | (header->after_synced ? AFTER_SYNCED : 0));
    put(out + 12, header->page_size, 4);
    const uint64_t words[] = {
        header->local_lsn,
        header->slots,
        header->byte_size,
        header->min_page_count,
        header->timestamp_us,
        RECORD_HEADER_BYTES,
        record_bodies_offset(header->slots),
        record_bytes(header->slots, header->page_size),
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        put(out + 16 + 8 * i, words[i], 8);
}
