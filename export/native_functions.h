/*
 * What every step is made of. Loops have no branches and constant sizes, so that a compiler makes vector instructions
 * of them; `omp simd` says that it may (the option -fopenmp-simd, which needs no OpenMP).
 */
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* of processors without vectors */
#endif
#if defined(__GNUC__)
#define NTM_INLINE static inline __attribute__((always_inline))
#define NTM_ALIGNED __attribute__((aligned(64)))
#else
#define NTM_INLINE static inline
#define NTM_ALIGNED
#endif

NTM_INLINE int32_t bits_of(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

NTM_INLINE float of_bits(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The smaller and the larger number; a NaN on the left stays. */
NTM_INLINE float least(float a, float b) { return b < a ? b : a; }
NTM_INLINE float most(float a, float b) { return a < b ? b : a; }

/*
 * e^x for x <= 0, and e^-87 for all x below -87. x = n ln 2 + r with a whole n; e^r is Taylor's series, of which the
 * first term left out is below 6e-9. A NaN stays.
 */
NTM_INLINE float exponential(float x)
{
    const float rounds = 12582912.0f; /* 1.5 * 2^23: a sum with it is rounded to a whole number, its lowest bits */
    float above = x < -87.0f ? -87.0f : x;
    float rounded = above * 1.44269504f + rounds;
    float n = rounded - rounds;
    float r = above - n * 0.693359375f; /* ln 2 = 355/512 - 2.1219444e-4; n * 355/512 is exact */
    r = r + n * 2.12194440e-4f;
    float series = 1.0f / 5040.0f;
    series = series * r + 1.0f / 720.0f;
    series = series * r + 1.0f / 120.0f;
    series = series * r + 1.0f / 24.0f;
    series = series * r + 1.0f / 6.0f;
    series = series * r + 0.5f;
    series = series * r + 1.0f;
    series = series * r + 1.0f;
    return series * of_bits((bits_of(rounded) - bits_of(rounds) + 127) * (1 << 23));
}

/*
 * ln x. x = 2^n m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s) with s = (m - 1) / (m + 1), as its series, of which
 * the first term left out is below 2e-10 of the sum. What is below 2^-126 is taken for 0. A NaN stays.
 */
NTM_INLINE float logarithm(float x)
{
    const int32_t root = 0x3f3504f3; /* of 1/2 */
    int32_t power = (bits_of(x) - root) & (int32_t)0xff800000;
    float m = of_bits(bits_of(x) - power);
    float n = (float)(power / (1 << 23));
    float s = (m - 1.0f) / (m + 1.0f), square = s * s;
    float series = 1.0f / 11.0f;
    series = series * square + 1.0f / 9.0f;
    series = series * square + 1.0f / 7.0f;
    series = series * square + 1.0f / 5.0f;
    series = series * square + 1.0f / 3.0f;
    series = series * square + 1.0f;
    float found = n * 0.693359375f + (2.0f * s * series - n * 2.12194440e-4f);
    float of_others = x < 0.0f ? NAN : x < FLT_MIN ? -INFINITY : x; /* infinity and NaN are their own */
    return x >= FLT_MIN && x <= FLT_MAX ? found : of_others;
}

NTM_INLINE float hyperbolic_tangent(float x)
{
    float t = exponential(-2.0f * fabsf(x));
    return copysignf((1.0f - t) / (1.0f + t), x);
}

/* 1 / (1 + e^-x) */
NTM_INLINE float sigmoid(float x)
{
    float t = exponential(-fabsf(x));
    return (x < 0.0f ? t : 1.0f) / (1.0f + t);
}

/* ln(1 + e^x) */
NTM_INLINE float softplus(float x) { return most(x, 0.0f) + logarithm(1.0f + exponential(-fabsf(x))); }

/* The bits of a float as an integer, of the same order as the floats; of that integer, the bits. A NaN is above all. */
NTM_INLINE int32_t ordered(int32_t bits) { return bits < 0 ? bits ^ INT32_MAX : bits; }

/* y = e^x / sum(e^x), of `size` numbers; y may be x. */
NTM_INLINE void softmax(const float *x, float *y, int size)
{
    int32_t last = INT32_MIN; /* of integers: compilers do not reorder floats, of which one may be a NaN */
#pragma omp simd reduction(max : last)
    for (int i = 0; i < size; i++) {
        int32_t place = ordered(bits_of(x[i]));
        last = place > last ? place : last;
    }
    float largest = of_bits(ordered(last)), sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < size; i++) {
        float power = exponential(x[i] - largest);
        y[i] = power;
        sum += power;
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (int i = 0; i < size; i++)
        y[i] *= scale;
}

/* The sum of the products of `size` numbers. */
NTM_INLINE float inner_product(const float *a, const float *b, int size)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < size; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y += a B, of `rows` numbers a, `a_step` apart, and as many rows of B of `columns` numbers, `b_step` apart. */
NTM_INLINE void add_product(float *restrict y, const float *restrict a, int a_step, const float *restrict b, int b_step,
                            int rows, int columns)
{
    int fours = rows / 4 * 4;
    for (int i = 0; i < fours; i += 4) {
        const float *b0 = b + i * b_step, *b1 = b0 + b_step, *b2 = b1 + b_step, *b3 = b2 + b_step;
        float a0 = a[i * a_step], a1 = a[(i + 1) * a_step], a2 = a[(i + 2) * a_step], a3 = a[(i + 3) * a_step];
#pragma omp simd
        for (int j = 0; j < columns; j++)
            y[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
    }
    for (int i = fours; i < rows; i++) {
        const float *row = b + i * b_step;
        float factor = a[i * a_step];
#pragma omp simd
        for (int j = 0; j < columns; j++)
            y[j] += factor * row[j];
    }
}
