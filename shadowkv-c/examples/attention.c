// A prompt and some steps through two layers, a copy that goes on differently, and one that comes back from a file.
//
//     attention SPEC DEVICE PACKAGE FILE
//
// SPEC has 2 KV heads of 32 elements and 4 query heads; PACKAGE is the folder of its kernels, or - for none; FILE is written.
// Prints every output as text and as bits, and is the same program as attention.rs.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shadowkv.h"

enum { LAYERS = 2, KV_HEADS = 2, QUERY_HEADS = 4, DIM = 32, PROMPT = 60, STEPS = 6 };

static void check(int32_t status) {
    if (status != SHADOWKV_OK) {
        fprintf(stderr, "status %d: %s\n", (int)status, shadowkv_last_error());
        exit(1);
    }
}

// Numbers that bf16 holds, so that all devices are given the same.
static void numbers(uint64_t seed, float *values, size_t count) {
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t index = 0; index < count; index++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        values[index] = (float)((state >> 40) % 255) / 64.0f - 2.0f;
    }
}

static shadowkv_tensor tensor(float *values, int64_t rows, int64_t heads) {
    shadowkv_tensor tensor = {
        .data = values,
        .place = SHADOWKV_HOST,
        .dtype = SHADOWKV_F32,
        .shape = {rows, heads, DIM},
        .strides = {heads * DIM, DIM, 1},
    };
    return tensor;
}

static void print(const char *what, size_t layer, const float *values, size_t count) {
    for (size_t index = 0; index < count; index++) {
        uint32_t bits;
        memcpy(&bits, &values[index], sizeof bits);
        printf("%s %zu %zu %.6f %08x\n", what, layer, index, values[index], (unsigned)bits);
    }
}

// Tokens from `first` on of one sequence, through all layers.
static void run(uint64_t attention, size_t sequence, uint64_t seed, size_t first, size_t count, const char *what) {
    static float q[PROMPT * QUERY_HEADS * DIM], output[PROMPT * QUERY_HEADS * DIM];
    static float k_pre[PROMPT * KV_HEADS * DIM], v[PROMPT * KV_HEADS * DIM];
    const shadowkv_new_tokens new_tokens = {.sequence = sequence, .count = count};
    for (size_t layer = 0; layer < LAYERS; layer++) {
        for (size_t token = 0; token < count; token++) {
            uint64_t own = ((seed * 1000 + first + token) * LAYERS + layer) * 3;
            numbers(own, q + token * QUERY_HEADS * DIM, QUERY_HEADS * DIM);
            numbers(own + 1, k_pre + token * KV_HEADS * DIM, KV_HEADS * DIM);
            numbers(own + 2, v + token * KV_HEADS * DIM, KV_HEADS * DIM);
        }
        shadowkv_tensor queries = tensor(q, (int64_t)count, QUERY_HEADS);
        shadowkv_tensor outputs = tensor(output, (int64_t)count, QUERY_HEADS);
        shadowkv_tensor keys = tensor(k_pre, (int64_t)count, KV_HEADS);
        shadowkv_tensor values = tensor(v, (int64_t)count, KV_HEADS);
        if (first == 0) {
            check(shadowkv_prefill(attention, layer, &new_tokens, 1, &keys, &values, &queries, &outputs));
        } else {
            check(shadowkv_append(attention, layer, &new_tokens, 1, &keys, &values));
            check(shadowkv_decode(attention, layer, &queries, &outputs));
        }
        print(what, layer, output, count * QUERY_HEADS * DIM);
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: attention SPEC DEVICE PACKAGE FILE\n");
        return 2;
    }
    const size_t capacities[] = {100, 100, 100};
    const char *package = strcmp(arguments[3], "-") == 0 ? NULL : arguments[3];
    const shadowkv_options options = {
        .size = sizeof(shadowkv_options),
        .spec = arguments[1],
        .device = arguments[2],
        .package = package,
        .layers = LAYERS,
        .capacities = capacities,
        .sequences = 3,
        .prompt_rows = PROMPT,
        .call_rows = 24,
    };
    uint64_t attention;
    check(shadowkv_open(&options, &attention));
    size_t sequence, copy, restored;
    check(shadowkv_admit(attention, PROMPT, 100, &sequence));
    run(attention, sequence, 1, 0, PROMPT, "prompt");
    for (size_t step = 0; step < STEPS; step++) {
        run(attention, sequence, 1, PROMPT + step, 1, "step");
    }
    check(shadowkv_fork(attention, sequence, 100, &copy));
    run(attention, copy, 2, PROMPT + STEPS, 3, "copy");
    check(shadowkv_save(attention, sequence, arguments[4]));
    check(shadowkv_remove(attention, sequence));
    check(shadowkv_restore(attention, arguments[4], 100, &restored));
    run(attention, restored, 1, PROMPT + STEPS, 1, "restored");

    shadowkv_memory memory;
    check(shadowkv_memory_report(attention, &memory));
    printf("memory %llu %llu %llu\n", (unsigned long long)memory.store_device,
           (unsigned long long)memory.store_host, (unsigned long long)memory.rows);
    shadowkv_statistics found;
    check(shadowkv_statistics_of(attention, copy, &found));
    printf("statistics %llu %llu %llu %llu\n", (unsigned long long)found.selected,
           (unsigned long long)found.hits, (unsigned long long)found.missing,
           (unsigned long long)found.bytes_fetched);
    size_t tokens;
    check(shadowkv_token_count(attention, restored, &tokens));
    printf("tokens %zu\n", tokens);
    check(shadowkv_close(attention));
    return 0;
}
