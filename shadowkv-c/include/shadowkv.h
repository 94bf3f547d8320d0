// ShadowKV attention for C. Generated from shadowkv-c by its test `the_header_is_current`: do not edit.

#ifndef SHADOWKV_H
#define SHADOWKV_H

#include <stddef.h>
#include <stdint.h>

// All is well.
#define SHADOWKV_OK 0

// A pointer that is null, a handle or sequence that there is not, a tensor of another shape or type.
#define SHADOWKV_INVALID_ARGUMENT 1

// A call that makes no sense after those before it.
#define SHADOWKV_ORDER 2

// No room for as many sequences or tokens.
#define SHADOWKV_NO_ROOM 3

// A file that cannot be written or read, is damaged, or of something else.
#define SHADOWKV_FILE 4

// The device failed, or has no memory left.
#define SHADOWKV_DEVICE_FAILED 5

// No such spec, package or device.
#define SHADOWKV_CANNOT_OPEN 6

// A defect of this library.
#define SHADOWKV_DEFECT 7

// In the host's memory.
#define SHADOWKV_HOST 0

// In the device's memory: `data` is its address there.
#define SHADOWKV_DEVICE 1

// 32-bit floats.
#define SHADOWKV_F32 0

// bfloat16.
#define SHADOWKV_BF16 1

// What is opened, and how much room it has.
typedef struct {
  // `sizeof(shadowkv_options)`.
  size_t size;
  // Path of the spec, a YAML file.
  const char *spec;
  // `cpu`, `cuda`, `cuda:1`, `emulated`, `emulated:h100`.
  const char *device;
  // Folder of the kernels' package; null for one of `SHADOWKV_PACKAGES`, or one that is built in. The CPU needs none.
  const char *package;
  // A `CUcontext` of the caller's for `cuda`, to be used instead of a GPU's primary one; else null.
  void *cuda_context;
  // With a context: the `CUstream` on which everything is enqueued, null for the legacy default stream.
  void *cuda_stream;
  // Layers.
  size_t layers;
  // Most tokens of each of the sequences that are there at the same time.
  const size_t *capacities;
  // How many those are.
  size_t sequences;
  // Tokens of the prompts of one step.
  size_t prompt_rows;
  // Tokens that go through a layer at once; an append has no more.
  size_t call_rows;
} shadowkv_options;

// New tokens of one sequence.
typedef struct {
  // Number of the sequence.
  size_t sequence;
  // How many.
  size_t count;
} shadowkv_new_tokens;

// `[rows, heads, head_dim]`. Rows are those of all sequences of a call, one sequence after the other.
typedef struct {
  // Its first element.
  void *data;
  // `SHADOWKV_HOST` or `SHADOWKV_DEVICE`.
  int32_t place;
  // `SHADOWKV_F32` or `SHADOWKV_BF16`.
  int32_t dtype;
  // Rows, heads, elements of a head.
  int64_t shape[3];
  // Elements from one row, head and element to the next; not negative, and 1 for the last.
  int64_t strides[3];
} shadowkv_tensor;

// Bytes that attention takes.
typedef struct {
  // Of keys and values, on the device.
  uint64_t store_device;
  // Of values, in the host's memory.
  uint64_t store_host;
  // Of rows on their way in and out, on the device.
  uint64_t rows;
} shadowkv_memory;

// How often a sequence's chunks were found on the device.
typedef struct {
  // Chunks selected.
  uint64_t selected;
  // Of these, chunks that were on the device.
  uint64_t hits;
  // Of these, chunks that were fetched.
  uint64_t missing;
  // Bytes of values that came from the host.
  uint64_t bytes_fetched;
} shadowkv_statistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Why the last call of this thread that failed did: UTF-8, empty if none did. It is valid until the next call of this thread
// that fails.
const char *shadowkv_last_error(void);

// Version of the library: `0.1.0`. It lives as long as the library.
const char *shadowkv_version(void);

// Opens attention as `options` have it; `*attention` is its handle, never 0.
int32_t shadowkv_open(const shadowkv_options *options, uint64_t *attention);

// Closes a handle and gives its memory back, after what was enqueued with it.
int32_t shadowkv_close(uint64_t attention);

// Takes in a sequence of up to `capacity` tokens, `prompt` of which are its prompt; `*sequence` is its number.
int32_t shadowkv_admit(uint64_t attention,
                       size_t prompt,
                       size_t capacity,
                       size_t *sequence);

// Forgets a sequence; its number may be given to another.
int32_t shadowkv_remove(uint64_t attention, size_t sequence);

// Gives up a step that some layers have not seen; its sequences can only be removed then.
int32_t shadowkv_abandon(uint64_t attention);

// A copy of a sequence with room for up to `capacity` tokens, or as many as it has; `*copy` is its number. Waits for the device.
int32_t shadowkv_fork(uint64_t attention,
                      size_t sequence,
                      size_t capacity,
                      size_t *copy);

// Writes a sequence to a file, whole or not at all. Waits for the device.
int32_t shadowkv_save(uint64_t attention, size_t sequence, const char *file);

// Takes in the sequence of a file, with room for up to `capacity` tokens or as many as it has; `*sequence` is its number. Waits
// for the device.
int32_t shadowkv_restore(uint64_t attention,
                         const char *file,
                         size_t capacity,
                         size_t *sequence);

// Takes in whole prompts in one layer: keys before RoPE and values `[rows, kv_heads, head_dim]`, rows one sequence after the
// other. With `q` and `output` `[rows, query heads, head_dim]`, both or neither null, also their causal attention. The output
// shares no memory with the others. Tensors of the device's memory must live until its stream is through with them.
int32_t shadowkv_prefill(uint64_t attention,
                         size_t layer,
                         const shadowkv_new_tokens *new_tokens,
                         size_t new_count,
                         const shadowkv_tensor *k_pre,
                         const shadowkv_tensor *v,
                         const shadowkv_tensor *q,
                         const shadowkv_tensor *output);

// Takes in keys before RoPE and values of later tokens in one layer, `[rows, kv_heads, head_dim]`, one or more of each sequence.
int32_t shadowkv_append(uint64_t attention,
                        size_t layer,
                        const shadowkv_new_tokens *new_tokens,
                        size_t new_count,
                        const shadowkv_tensor *k_pre,
                        const shadowkv_tensor *v);

// Attention in one layer of the tokens that were just appended there: `q` and `output` `[rows, query heads, head_dim]`, which
// share no memory.
int32_t shadowkv_decode(uint64_t attention,
                        size_t layer,
                        const shadowkv_tensor *q,
                        const shadowkv_tensor *output);

// Waits until everything that was called has run.
int32_t shadowkv_synchronise(uint64_t attention);

// Tokens of a sequence that all layers have seen; 0 of one that there is not.
int32_t shadowkv_token_count(uint64_t attention, size_t sequence, size_t *count);

// Bytes that attention takes.
int32_t shadowkv_memory_report(uint64_t attention, shadowkv_memory *memory);

// How often a sequence's chunks were found on the device. Waits for the device.
int32_t shadowkv_statistics_of(uint64_t attention,
                               size_t sequence,
                               shadowkv_statistics *statistics);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SHADOWKV_H */
