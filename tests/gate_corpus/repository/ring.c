/* Single-producer, single-consumer ring buffer.
 *
 * One thread may call ring_push, one other thread may call ring_pop. Nothing
 * here is safe with two producers or two consumers.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RING_SLOTS 1024u            /* must be a power of two */
#define RING_MASK  (RING_SLOTS - 1u)
#define SLOT_BYTES 256u

struct slot {
    uint16_t len;
    uint8_t  data[SLOT_BYTES];
};

struct ring {
    _Atomic uint32_t head;          /* written by the producer only */
    _Atomic uint32_t tail;          /* written by the consumer only */
    struct slot slots[RING_SLOTS];
};

struct ring *ring_new(void)
{
    struct ring *r = calloc(1, sizeof *r);
    return r;                       /* NULL when out of memory */
}

/* Returns 0, -EMSGSIZE when the message does not fit into a slot, or -EAGAIN
 * when the ring is full. Never blocks. */
int ring_push(struct ring *r, const void *msg, size_t len)
{
    uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);

    if (len > SLOT_BYTES)
        return -EMSGSIZE;
    if (head - tail == RING_SLOTS)
        return -EAGAIN;

    struct slot *s = &r->slots[head & RING_MASK];
    s->len = (uint16_t)len;
    memcpy(s->data, msg, len);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return 0;
}

/* Returns the length of the message, or -EAGAIN when there is none. A message
 * longer than cap is cut to cap bytes without an error. */
int ring_pop(struct ring *r, void *out, size_t cap)
{
    uint32_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&r->head, memory_order_acquire);

    if (head == tail)
        return -EAGAIN;

    struct slot *s = &r->slots[tail & RING_MASK];
    size_t n = s->len < cap ? s->len : cap;
    memcpy(out, s->data, n);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return (int)n;
}

/* Not thread-safe: call it when neither side runs. */
void ring_reset(struct ring *r)
{
    atomic_store(&r->head, 0);
    atomic_store(&r->tail, 0);
}
