/* An instance, and what is called from outside. */

#if defined(__GNUC__)
#define NTM_EXPORTED __attribute__((visibility("default")))
#else
#define NTM_EXPORTED
#endif

typedef void step_function(struct work *work, const ntm_inputs *inputs, const ntm_outputs *outputs);

static void step_of_any(struct work *work, const ntm_inputs *inputs, const ntm_outputs *outputs)
{
    step(work, inputs, outputs);
}

#if defined(__GNUC__) && defined(__x86_64__) && !defined(__AVX2__)
__attribute__((target("avx2,fma"))) static void step_of_avx2(struct work *work, const ntm_inputs *inputs,
                                                             const ntm_outputs *outputs)
{
    step(work, inputs, outputs);
}

static step_function *fastest(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? step_of_avx2 : step_of_any;
}
#else
static step_function *fastest(void) { return step_of_any; }
#endif

/*
 * Weightings underflow. Where that makes denormal numbers, some processors are many times slower, so these are taken
 * for 0 while a step computes; afterwards the mode of the thread is what it was.
 */
#if defined(__SSE2__)
#include <emmintrin.h>
typedef unsigned int mode_of_thread;
NTM_INLINE mode_of_thread without_denormals(void)
{
    mode_of_thread before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, and denormals are zero */
    return before;
}
NTM_INLINE void restore(mode_of_thread before) { _mm_setcsr(before); }
#elif defined(__aarch64__) && defined(__GNUC__)
typedef uint64_t mode_of_thread;
NTM_INLINE mode_of_thread without_denormals(void)
{
    mode_of_thread before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24))); /* flush to zero */
    return before;
}
NTM_INLINE void restore(mode_of_thread before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int mode_of_thread;
NTM_INLINE mode_of_thread without_denormals(void) { return 0; }
NTM_INLINE void restore(mode_of_thread before) { (void)before; }
#endif

struct ntm {
    step_function *step;
    void *allocated; /* by ntm_create, else NULL */
    int now;         /* which of the states is that after the last step */
    struct state states[2];
    struct work work;
};

#define NTM_ALIGNMENT 64

/*
 * What is exported calls nothing that is exported: where two libraries are in one program, the loader could take the
 * function of the other one.
 */
static void reset(ntm *instance)
{
    instance->now = 0;
    initial_state(&instance->states[0]);
}

static ntm *initialised(void *memory, void *allocated)
{
    uintptr_t start = ((uintptr_t)memory + NTM_ALIGNMENT - 1) / NTM_ALIGNMENT * NTM_ALIGNMENT;
    ntm *instance = (ntm *)start;
    instance->step = fastest();
    instance->allocated = allocated;
    reset(instance);
    return instance;
}

static void compute(ntm *instance, const ntm_inputs *inputs, const ntm_outputs *outputs)
{
    mode_of_thread before = without_denormals();
    instance->step(&instance->work, inputs, outputs);
    restore(before);
}

static void run(ntm *instance, const float *x, float *y, size_t steps)
{
    for (size_t t = 0; t < steps; t++) {
        ntm_inputs inputs = as_inputs(&instance->states[instance->now]);
        ntm_outputs outputs = as_outputs(&instance->states[1 - instance->now], &instance->work);
        inputs.x = x + t * NTM_SIZE_X;
        outputs.y = y + t * NTM_SIZE_Y;
        compute(instance, &inputs, &outputs);
        instance->now = 1 - instance->now;
    }
}

#define NTM_BYTES (sizeof(struct ntm) + NTM_ALIGNMENT)

NTM_EXPORTED size_t ntm_size(void) { return NTM_BYTES; }

NTM_EXPORTED ntm *ntm_init(void *memory) { return initialised(memory, NULL); }

NTM_EXPORTED ntm *ntm_create(void)
{
    void *memory = malloc(NTM_BYTES);
    return memory == NULL ? NULL : initialised(memory, memory);
}

NTM_EXPORTED void ntm_free(ntm *instance)
{
    if (instance != NULL)
        free(instance->allocated);
}

NTM_EXPORTED void ntm_reset(ntm *instance) { reset(instance); }

NTM_EXPORTED void ntm_step(ntm *instance, const float *x, float *y) { run(instance, x, y, 1); }

NTM_EXPORTED void ntm_run(ntm *instance, const float *x, float *y, size_t steps) { run(instance, x, y, steps); }

NTM_EXPORTED ntm_state ntm_current(ntm *instance) { return as_state(&instance->states[instance->now]); }

NTM_EXPORTED void ntm_compute(ntm *instance, const ntm_inputs *inputs, const ntm_outputs *outputs)
{
    compute(instance, inputs, outputs);
}

NTM_EXPORTED const char *ntm_metadata(void) { return metadata + NTM_MARK; }
