/* The threads of a play: coroutines that come back before each step, and the memory that they see. */
#include "weave.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "weave_impl.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(WEAVE_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FIBER_START(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define FIBER_FINISH(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define FIBER_START(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define FIBER_FINISH(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

#define STACK_BYTES ((size_t)256 * 1024)
#define LOCALS_MAX 256
#define STORES_MAX 16
#define OBJECTS_MAX 4096 /* a power of two */
#define OUTSIDE (-1)

struct store {
    uintptr_t addr;
    size_t size;
    uint64_t value;
    struct clock before;
};

struct coroutine {
    ucontext_t context;
    void *fake_stack;
    void (*run)(void);
    struct step next;
    struct store stores[STORES_MAX]; /* oldest first */
    size_t store_count;
    uint8_t locals[LOCALS_MAX];
    void *key_value;
};

extern uint8_t locals_begin[] __asm__("__start_weave_local") __attribute__((weak));
extern uint8_t locals_end[] __asm__("__stop_weave_local") __attribute__((weak));

static struct coroutine coroutines[WEAVE_THREADS_MAX];
static _Alignas(64) uint8_t stacks[WEAVE_THREADS_MAX][STACK_BYTES];
static int thread_count;
static enum weave_order order_now;
static int self = OUTSIDE;
static ucontext_t scheduler;
static const void *scheduler_bottom;
static size_t scheduler_size;
static void *scheduler_fake;
static jmp_buf outside_failed;
static void (*key_destructor)(void *value);
static int failed;
static char what[300];

static struct object objects[OBJECTS_MAX];
static uint64_t run_no;

struct clock clock_of[PROCS_MAX];

/* ---- thread-locals ---- */

static void locals_copy(uint8_t *to, const uint8_t *from)
{
    size_t size = (size_t)(locals_end - locals_begin);

    CHECK(size <= LOCALS_MAX);
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

/* ---- switching ---- */

static void to_scheduler(void)
{
    struct coroutine *me = &coroutines[self];

    /* One that has ended gives its sanitizer's stack back. */
    FIBER_START(me->next.kind == STEP_NONE ? NULL : &me->fake_stack, scheduler_bottom,
                scheduler_size);
    CHECK(swapcontext(&me->context, &scheduler) == 0);
    FIBER_FINISH(me->fake_stack, &scheduler_bottom, &scheduler_size);
}

static void resume(int thread)
{
    struct coroutine *it = &coroutines[thread];
    uint8_t outside[LOCALS_MAX];

    locals_copy(outside, locals_begin);
    locals_copy(locals_begin, it->locals);
    self = thread;
    FIBER_START(&scheduler_fake, stacks[thread], STACK_BYTES);
    CHECK(swapcontext(&scheduler, &it->context) == 0);
    FIBER_FINISH(scheduler_fake, NULL, NULL);
    self = OUTSIDE;
    locals_copy(it->locals, locals_begin);
    locals_copy(locals_begin, outside);
}

static void stop_before(struct step step)
{
    coroutines[self].next = step;
    to_scheduler();
}

static void entry(void)
{
    struct coroutine *me = &coroutines[self];

    FIBER_FINISH(NULL, &scheduler_bottom, &scheduler_size);
    me->run();
    if (me->key_value != NULL) {
        void *value = me->key_value;
        me->key_value = NULL;
        key_destructor(value);
    }
    stop_before((struct step){.kind = STEP_NONE});
}

void weave_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    failed = 1;
    if (self == OUTSIDE)
        longjmp(outside_failed, 1);
    for (;;)
        to_scheduler();
}

int threads_failed(void)
{
    return failed;
}

const char *threads_what(void)
{
    return what;
}

int threads_outside(void (*run)(void))
{
    if (setjmp(outside_failed) != 0)
        return -1;
    if (run != NULL)
        run();
    return 0;
}

int weave_self(void)
{
    return self;
}

/* ---- what came before what ---- */

void objects_forget(void)
{
    run_no++;
    memset(clock_of, 0, sizeof(clock_of));
}

struct object *object_at(uintptr_t addr)
{
    size_t at = (size_t)(addr * 0x9e3779b97f4a7c15u >> 40);

    for (size_t i = 0; i < OBJECTS_MAX; i++) {
        struct object *object = &objects[(at + i) & (OBJECTS_MAX - 1)];
        if (object->run == run_no && object->addr == addr)
            return object;
        if (object->run == run_no)
            continue;
        *object = (struct object){.addr = addr, .run = run_no};
        return object;
    }
    weave_fail("more than %d objects", OBJECTS_MAX);
}

void objects_freed(uintptr_t addr, size_t size, struct clock *clock)
{
    (void)object_at(addr);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < OBJECTS_MAX; i++) {
            struct object *object = &objects[i];
            if (object->run != run_no || object->addr - addr >= size)
                continue;
            clock_join(pass == 0 ? clock : &object->written, pass == 0 ? &object->written : clock);
            if (pass == 0)
                clock_join(clock, &object->read);
        }
    }
}

struct clock threads_clock(int proc)
{
    struct clock clock = clock_of[proc];

    if (proc >= WEAVE_THREADS_MAX && coroutines[proc - WEAVE_THREADS_MAX].store_count > 0)
        clock_join(&clock, &coroutines[proc - WEAVE_THREADS_MAX].stores[0].before);
    return clock;
}

/* ---- memory ---- */

static uint64_t memory_read(uintptr_t addr, size_t size)
{
    uint64_t value = 0;

    memory_check(addr);
    memcpy(&value, (const void *)addr, size);
    return value;
}

static void memory_write(uintptr_t addr, size_t size, uint64_t value)
{
    memory_check(addr);
    memcpy((void *)addr, &value, size);
}

/* What the thread itself sees there. */
static uint64_t thread_read(const struct coroutine *it, uintptr_t addr, size_t size)
{
    for (size_t i = it->store_count; i > 0; i--)
        if (it->stores[i - 1].addr == addr)
            return it->stores[i - 1].value;
    return memory_read(addr, size);
}

uint64_t weave_load(const volatile void *addr, size_t size)
{
    if (self == OUTSIDE)
        return memory_read((uintptr_t)addr, size);
    stop_before((struct step){.kind = STEP_READ, .addr = (uintptr_t)addr});
    return thread_read(&coroutines[self], (uintptr_t)addr, size);
}

void weave_await(const volatile void *addr, size_t size, int (*ready)(uint64_t value, uint64_t arg),
                 uint64_t arg)
{
    if (self == OUTSIDE) {
        WEAVE_CHECK(ready(memory_read((uintptr_t)addr, size), arg));
        return;
    }
    stop_before((struct step){
        .kind = STEP_AWAIT, .addr = (uintptr_t)addr, .size = size, .ready = ready, .arg = arg});
}

/* A store into the buffer is no step: nobody can tell when it was made. */
void weave_store(volatile void *addr, size_t size, uint64_t value, int memory_order)
{
    if (self == OUTSIDE) {
        memory_write((uintptr_t)addr, size, value);
    } else if (order_now == WEAVE_SC || memory_order == memory_order_seq_cst) {
        enum step_kind kind = order_now == WEAVE_SC ? STEP_WRITE : STEP_MODIFY;
        stop_before((struct step){.kind = kind, .addr = (uintptr_t)addr});
        memory_write((uintptr_t)addr, size, value);
    } else {
        struct coroutine *me = &coroutines[self];
        if (me->store_count == STORES_MAX)
            weave_fail("more than %d stores wait", STORES_MAX);
        me->stores[me->store_count++] = (struct store){
            .addr = (uintptr_t)addr, .size = size, .value = value, .before = clock_of[self]};
    }
}

void weave_modify(volatile void *addr)
{
    if (self != OUTSIDE)
        stop_before((struct step){.kind = STEP_MODIFY, .addr = (uintptr_t)addr});
    memory_check((uintptr_t)addr);
}

void weave_fence(int memory_order)
{
    if (self != OUTSIDE && memory_order == memory_order_seq_cst && coroutines[self].store_count > 0)
        stop_before((struct step){.kind = STEP_FENCE});
}

void weave_touch(const void *addr)
{
    if (self != OUTSIDE)
        stop_before((struct step){.kind = STEP_READ, .addr = (uintptr_t)addr});
    memory_check((uintptr_t)addr);
}

void threads_free(void *ptr, size_t size)
{
    if (self != OUTSIDE)
        stop_before((struct step){.kind = STEP_FREE, .addr = (uintptr_t)ptr, .size = size});
}

/* ---- mutexes ---- */

static struct {
    const struct mutex *mutex;
    int owner;
} held[32];
static size_t held_count;

static size_t held_find(const struct mutex *mutex)
{
    size_t i = 0;

    while (i < held_count && held[i].mutex != mutex)
        i++;
    return i;
}

void weave_lock(struct mutex *mutex)
{
    if (self == OUTSIDE)
        return;
    memory_check((uintptr_t)mutex);
    stop_before((struct step){.kind = STEP_LOCK, .addr = (uintptr_t)mutex});
    CHECK(held_count < sizeof(held) / sizeof(held[0]));
    held[held_count].mutex = mutex;
    held[held_count++].owner = self;
}

void weave_unlock(struct mutex *mutex)
{
    if (self == OUTSIDE)
        return;
    if (coroutines[self].store_count > 0)
        stop_before((struct step){.kind = STEP_UNLOCK, .addr = (uintptr_t)mutex});
    size_t at = held_find(mutex);
    WEAVE_CHECK(at < held_count && held[at].owner == self);
    clock_join(&object_at((uintptr_t)mutex)->written, &clock_of[self]);
    held[at] = held[--held_count];
}

/* ---- pthreads ---- */

int weave_key_create(void (*destructor)(void *value))
{
    key_destructor = destructor;
    return 0;
}

int weave_setspecific(void *value)
{
    if (self != OUTSIDE)
        coroutines[self].key_value = value;
    return 0;
}

/* ---- procs ---- */

void threads_start(const struct weave_play *play, enum weave_order order)
{
    static uint8_t no_locals[LOCALS_MAX];

    order_now = order;
    failed = 0;
    held_count = 0;
    thread_count = 0;
    for (int i = 0; i < WEAVE_THREADS_MAX && play->threads[i] != NULL; i++)
        thread_count++;
    for (int i = 0; i < thread_count && !failed; i++) {
        struct coroutine *it = &coroutines[i];
        ASAN_UNPOISON_MEMORY_REGION(stacks[i], STACK_BYTES);
        it->run = play->threads[i];
        it->store_count = 0;
        it->key_value = NULL;
        it->fake_stack = NULL;
        locals_copy(it->locals, no_locals);
        CHECK(getcontext(&it->context) == 0);
        it->context.uc_stack.ss_sp = stacks[i];
        it->context.uc_stack.ss_size = STACK_BYTES;
        it->context.uc_link = NULL;
        makecontext(&it->context, entry, 0);
        resume(i); /* up to its first step: so far it touched nothing that another sees */
    }
}

struct step threads_next(int proc)
{
    if (proc < WEAVE_THREADS_MAX)
        return coroutines[proc].next;
    const struct coroutine *it = &coroutines[proc - WEAVE_THREADS_MAX];
    if (it->store_count == 0)
        return (struct step){.kind = STEP_NONE};
    return (struct step){.kind = STEP_WRITE, .addr = it->stores[0].addr};
}

static int thread_enabled(const struct coroutine *it)
{
    const struct step *step = &it->next;

    switch (step->kind) {
    case STEP_NONE: return 0;
    case STEP_READ:
    case STEP_WRITE: return 1;
    case STEP_AWAIT: return step->ready(thread_read(it, step->addr, step->size), step->arg);
    case STEP_MODIFY:
    case STEP_FENCE:
    case STEP_FREE:
    case STEP_UNLOCK: return it->store_count == 0;
    case STEP_LOCK:
        return it->store_count == 0 && held_find((const struct mutex *)step->addr) == held_count;
    }
    return 0;
}

uint32_t threads_enabled(void)
{
    uint32_t enabled = 0;

    for (int i = 0; i < thread_count; i++) {
        if (thread_enabled(&coroutines[i]))
            enabled |= 1u << i;
        if (coroutines[i].store_count > 0)
            enabled |= 1u << BUFFER_OF(i);
    }
    return enabled;
}

int threads_ended(void)
{
    for (int i = 0; i < thread_count; i++)
        if (coroutines[i].next.kind != STEP_NONE || coroutines[i].store_count > 0)
            return 0;
    return 1;
}

void threads_step(int proc)
{
    if (proc < WEAVE_THREADS_MAX) {
        resume(proc);
        return;
    }
    struct coroutine *it = &coroutines[proc - WEAVE_THREADS_MAX];
    struct store oldest = it->stores[0];
    memmove(it->stores, it->stores + 1, --it->store_count * sizeof(oldest));
    memory_write(oldest.addr, oldest.size, oldest.value);
}
