#include "frames.h"

#include "exceptions.h"
#include "section.h"

#include <stddef.h>
#include <string.h>

enum { BLOCK_SHIFT = 10, BLOCK_SLOTS = 1 << BLOCK_SHIFT, BLOCK_MASK = BLOCK_SLOTS - 1 };
#define FRAMES_MAX (UINT64_C(1) << 32)

typedef _Atomic(frame_body *) frame_slot;

/* Pointers to blocks. Readers may be using an older, shorter root, so all roots live as long as the table. */
struct frame_root {
    frame_root *older;
    size_t block_count;
    _Atomic(frame_slot *) blocks[];
};

static frame_slot *slot_of(const frame_slots *slots, uint64_t number)
{
    frame_root *root = atomic_load_explicit(&slots->root, memory_order_acquire);
    uint64_t block = number >> BLOCK_SHIFT;
    if (root == NULL || block >= root->block_count)
        return NULL;
    frame_slot *first = atomic_load_explicit(&root->blocks[block], memory_order_acquire);
    return first == NULL ? NULL : &first[number & BLOCK_MASK];
}

const frame_body *frames_body(const frame_slots *slots, uint64_t number)
{
    frame_slot *slot = slot_of(slots, number);
    return slot == NULL ? NULL : atomic_load_explicit(slot, memory_order_seq_cst);
}

static int grow_root(frame_slots *slots, size_t block_count)
{
    frame_root *old = atomic_load_explicit(&slots->root, memory_order_relaxed);
    size_t old_count = old == NULL ? 0 : old->block_count;
    size_t count = block_count > 2 * old_count ? block_count : 2 * old_count;
    frame_root *root = PyMem_Calloc(1, sizeof *root + count * sizeof root->blocks[0]);
    if (root == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    root->older = old;
    root->block_count = count;
    for (size_t i = 0; i < old_count; i++)
        atomic_init(&root->blocks[i], atomic_load_explicit(&old->blocks[i], memory_order_relaxed));
    atomic_store_explicit(&slots->root, root, memory_order_release);
    return 0;
}

static frame_slot *slot_made(frame_slots *slots, uint64_t number)
{
    size_t block = (size_t)(number >> BLOCK_SHIFT);
    frame_root *root = atomic_load_explicit(&slots->root, memory_order_relaxed);
    if (root == NULL || block >= root->block_count) {
        if (grow_root(slots, block + 1) < 0)
            return NULL;
        root = atomic_load_explicit(&slots->root, memory_order_relaxed);
    }
    if (atomic_load_explicit(&root->blocks[block], memory_order_relaxed) == NULL) {
        frame_slot *first = PyMem_Calloc(BLOCK_SLOTS, sizeof *first);
        if (first == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        atomic_store_explicit(&root->blocks[block], first, memory_order_release);
    }
    return slot_of(slots, number);
}

static void free_retired(frame_body *retired)
{
    while (retired != NULL) {
        frame_body *body = retired;
        retired = body->next_retired;
        Py_DECREF(body->owner);
        PyMem_Free(body);
    }
}

/* The address and length of an attribute's buffer, which the attribute keeps alive. */
static int borrow(PyObject *owner, const char *name, const uint8_t **start, size_t *length)
{
    PyObject *value = PyObject_GetAttrString(owner, name);
    if (value == NULL)
        return -1;
    Py_buffer view;
    int failed = PyObject_GetBuffer(value, &view, PyBUF_SIMPLE);
    if (!failed) {
        *start = view.buf;
        *length = (size_t)view.len;
        PyBuffer_Release(&view);
    }
    Py_DECREF(value);
    return failed;
}

static frame_body *body_made(const frame_slots *slots, PyObject *owner)
{
    const uint8_t *pages, *data;
    size_t pages_bytes, data_bytes;
    if (borrow(owner, "pages", &pages, &pages_bytes) < 0 || borrow(owner, "data", &data, &data_bytes) < 0)
        return NULL;
    size_t count = pages_bytes / sizeof(uint32_t);
    if (pages_bytes % sizeof(uint32_t) || count > UINT32_MAX || data_bytes / slots->page_size < count) {
        PyErr_Format(PyExc_ValueError, "a frame of %zu bytes cannot hold the pages listed in %zu bytes", data_bytes,
                     pages_bytes);
        return NULL;
    }
    frame_body *body = PyMem_Malloc(sizeof *body);
    if (body == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *body = (frame_body){.pages = pages, .data = data, .count = (uint32_t)count, .owner = Py_NewRef(owner)};
    return body;
}

static PyObject *attached(frame_slots *slots, PyObject *args)
{
    unsigned long long number;
    PyObject *owner;
    if (!PyArg_ParseTuple(args, "KO:attached", &number, &owner))
        return NULL;
    if (number >= FRAMES_MAX)
        return PyErr_Format(PyExc_ValueError, "frame number %llu is too large", number);
    frame_slot *slot = slot_made(slots, number);
    frame_body *body = slot == NULL ? NULL : body_made(slots, owner);
    if (body == NULL)
        return NULL;
    frame_body *old = atomic_exchange_explicit(slot, body, memory_order_seq_cst);
    if (old != NULL) {
        section_wait_for_all();
        free_retired(old);
    }
    Py_RETURN_NONE;
}

static PyObject *detached(frame_slots *slots, PyObject *numbers)
{
    PyObject *iterator = PyObject_GetIter(numbers);
    if (iterator == NULL)
        return NULL;
    frame_body *retired = NULL;
    PyObject *item;
    while ((item = PyIter_Next(iterator)) != NULL) {
        unsigned long long number = PyLong_AsUnsignedLongLong(item);
        Py_DECREF(item);
        if (PyErr_Occurred())
            break;
        frame_slot *slot = slot_of(slots, number);
        frame_body *body = slot == NULL ? NULL : atomic_exchange_explicit(slot, NULL, memory_order_seq_cst);
        if (body != NULL) {
            body->next_retired = retired;
            retired = body;
        }
    }
    Py_DECREF(iterator);
    if (retired != NULL) {
        /* Freeing a body may run any Python code, so no exception may be set. */
        PyObject *pending = exception_take();
        section_wait_for_all();
        free_retired(retired);
        exception_put(pending);
    }
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *slots_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"page_size", NULL};
    unsigned int page_size;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "I:FrameSlots", names, &page_size))
        return NULL;
    if (page_size < 512 || page_size > 65536 || (page_size & (page_size - 1)))
        return PyErr_Format(PyExc_ValueError, "no page has %u bytes", page_size);
    frame_slots *slots = (frame_slots *)type->tp_alloc(type, 0);
    if (slots != NULL) {
        slots->page_size = page_size;
        atomic_init(&slots->root, NULL);
    }
    return (PyObject *)slots;
}

static void slots_dealloc(frame_slots *slots)
{
    /* Each reader holds a snapshot, which holds the slots, so no reader is in a section that uses them. */
    frame_root *root = atomic_load_explicit(&slots->root, memory_order_relaxed);
    for (size_t i = 0; root != NULL && i < root->block_count; i++) {
        frame_slot *first = atomic_load_explicit(&root->blocks[i], memory_order_relaxed);
        for (size_t j = 0; first != NULL && j < BLOCK_SLOTS; j++)
            free_retired(atomic_load_explicit(&first[j], memory_order_relaxed));
        PyMem_Free(first);
    }
    while (root != NULL) {
        frame_root *older = root->older;
        PyMem_Free(root);
        root = older;
    }
    Py_TYPE(slots)->tp_free((PyObject *)slots);
}

static PyMethodDef slots_methods[] = {
    {"attached", (PyCFunction)(void (*)(void))attached, METH_VARARGS, "Add the body of a frame."},
    {"detached", (PyCFunction)(void (*)(void))detached, METH_O,
     "Release the bodies of frames, once no reader uses them."},
    {NULL, NULL, 0, NULL},
};

PyTypeObject frame_slots_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "graft_sqlite_vfs._accelerator.FrameSlots",
    .tp_doc = "The bodies of frames by number, for readers without the GIL.",
    .tp_basicsize = sizeof(frame_slots),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = slots_new,
    .tp_dealloc = (destructor)slots_dealloc,
    .tp_methods = slots_methods,
};
