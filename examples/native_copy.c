/*
 * Copy texts through the memory of a network in a program of C, which needs no library but that of C.
 *
 *     ntm-export --format native RUN --output model        (RUN: ntm-train --output RUN, the task copy)
 *     cc -O2 -I model/native examples/native_copy.c model/native/libntm.a -lm -o native_copy
 *     ./native_copy "a text" "another one"
 *
 * The exit code is 0 if no bit is wrong, 1 if some are, 2 for trouble.
 */
#include "ntm.h"

#include <stdio.h>
#include <string.h>

#if NTM_B != 1 || NTM_I != 9 || NTM_O != 8
#error "this program is for a network that copies words of 8 bits, one sequence at a time"
#endif

/* The network sees each byte, then the delimiter; then it outputs the bytes from its memory. */
static void copy(ntm *network, const char *text, size_t length, char *copied)
{
    float x[NTM_I] = {0}, y[NTM_O];
    ntm_reset(network);
    for (size_t i = 0; i < length; i++) {
        for (int bit = 0; bit < 8; bit++)
            x[bit] = (unsigned char)text[i] >> bit & 1;
        ntm_step(network, x, y);
    }
    memset(x, 0, sizeof x);
    x[8] = 1; /* the delimiter */
    ntm_step(network, x, y);
    x[8] = 0;
    for (size_t i = 0; i < length; i++) {
        int byte = 0;
        ntm_step(network, x, y);
        for (int bit = 0; bit < 8; bit++)
            byte |= (y[bit] > 0.5f) << bit;
        copied[i] = (char)byte;
    }
}

int main(int count, char **texts)
{
    int wrong = 0;
    ntm *network = ntm_create();
    if (network == NULL) {
        fputs("native_copy: no memory\n", stderr);
        return 2;
    }
    for (int i = 1; i < count; i++) {
        char copied[NTM_N];
        size_t length = strlen(texts[i]);
        if (length > NTM_N - 2) { /* a location for each byte and for the delimiter */
            fprintf(stderr, "native_copy: the memory holds %d bytes, not %zu\n", NTM_N - 2, length);
            ntm_free(network);
            return 2;
        }
        copy(network, texts[i], length, copied);
        wrong |= memcmp(copied, texts[i], length) != 0;
        fwrite(copied, 1, length, stdout);
        putchar('\n');
    }
    ntm_free(network);
    return wrong;
}
