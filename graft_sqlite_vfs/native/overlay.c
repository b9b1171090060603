#include "overlay.h"

#include <string.h>

int overlay_begin(graft_overlay *overlay, PyObject *journal, uint32_t page_shift)
{
    overlay_end(overlay);
    overlay->page_one = PyMem_RawMalloc((size_t)1 << page_shift);
    if (overlay->page_one == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyObject_GetBuffer(journal, &overlay->journal, PyBUF_SIMPLE) < 0) {
        overlay_end(overlay);
        return -1;
    }
    overlay->page_shift = page_shift;
    return 0;
}

void overlay_end(graft_overlay *overlay)
{
    PyBuffer_Release(&overlay->journal);
    PyMem_RawFree(overlay->page_one);
    overlay->page_one = NULL;
    overlay->has_page_one = false;
    if (overlay->count != 0)
        memset(overlay->pages, 0, sizeof overlay->pages);
    overlay->count = 0;
}

/* The slot of a page, or the free slot where it would go; there is always one, since half of them stay free. */
static unsigned slot_of(const graft_overlay *overlay, uint32_t page)
{
    unsigned slot = (page * UINT32_C(2654435769)) >> 22;
    while (overlay->pages[slot] != page && overlay->pages[slot] != 0)
        slot = (slot + 1) % OVERLAY_SLOTS;
    return slot;
}

void overlay_put(graft_overlay *overlay, uint32_t page, uint64_t place)
{
    unsigned slot = slot_of(overlay, page);
    overlay->count += overlay->pages[slot] == 0;
    overlay->pages[slot] = page;
    overlay->places[slot] = place;
}

void overlay_put_page_one(graft_overlay *overlay, const uint8_t *body)
{
    memcpy(overlay->page_one, body, (size_t)1 << overlay->page_shift);
    overlay->has_page_one = true;
}

bool overlay_read(const graft_overlay *overlay, uint8_t *out, uint32_t amount, uint64_t offset)
{
    uint64_t index = offset >> overlay->page_shift;
    uint64_t start = offset - (index << overlay->page_shift);
    if (index >= UINT32_MAX || start + amount > (uint64_t)1 << overlay->page_shift)
        return false;
    const uint8_t *body;
    if (index == 0) {
        if (!overlay->has_page_one)
            return false;
        body = overlay->page_one;
    } else {
        unsigned slot = slot_of(overlay, (uint32_t)index + 1);
        if (overlay->pages[slot] == 0)
            return false;
        body = (const uint8_t *)overlay->journal.buf + overlay->places[slot];
    }
    memcpy(out, body + start, amount);
    return true;
}
