// CUDA's execution model on one CPU thread: blocks one after the other, those of a cluster together, threads as fibers.
//
// A fiber runs until a barrier or a warp operation. PCSR_EMULATION_ORDER says which of those that can run is next:
// forward (default), reverse, or random:SEED. Shared memory is filled with NaN before every block and made anew for
// each. Asynchronous copies arrive as late as the waits allow. A lane outside the mask, lanes at different operations,
// or a barrier that not all threads reach ends the launch with an error that cudaGetLastError returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace emulation {

struct Index {
    unsigned x, y, z;
};

const Index& thread_index();
const Index& block_index();
const Index& block_size();
const Index& grid_size();
int lane();

void launch(std::int64_t blocks, int threads, std::size_t shared, const std::function<void()>& body, int cluster = 1);
int take_error();
const char* message(int error);
// Record what the kernel did wrong and end the launch; returns only to the caller of `launch`.
[[noreturn]] void fail(const char* operation, const char* what);

unsigned char* shared_memory();
int rank_in_cluster();
// The same place in the shared memory of block `rank` of the cluster.
void* in_block(void* shared, int rank);
void block_barrier();
// Of all threads of the cluster that have not ended.
void cluster_barrier();
void warp_barrier(unsigned mask);

constexpr int SLOT_WORDS = 10;
using Slot = std::uint32_t[SLOT_WORDS];

// All lanes of `mask` wait for each other, each leaving `count` words; the slots of the warp, valid until its next
// operation. The last lane to come calls `combine` on them.
using Combine = void (*)(Slot* slots);
Slot* meet(const char* operation, unsigned mask, const std::uint32_t* words, int count, Combine combine = nullptr);

template <class T>
T from_lane(const char* operation, unsigned mask, T value, int source) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "one or two words");
    std::uint32_t words[sizeof(T) / 4];
    __builtin_memcpy(words, &value, sizeof(T));
    const Slot* slots = meet(operation, mask, words, sizeof(T) / 4);
    if (!(mask >> source & 1u)) {
        fail(operation, "reads a lane that is not in the mask");
    }
    __builtin_memcpy(&value, slots[source], sizeof(T));
    return value;
}

const std::uint32_t* exchange(const char* operation, unsigned mask, std::uint32_t word);

// Copies of the running thread that have not arrived.
void start_copy(void* to, const void* from, int valid);
void commit_copies();
struct Copy {
    unsigned char* to;
    const unsigned char* from;
    int valid;
};
// The next copy of all groups but the `pending` newest ones; false when there is none left.
bool next_arrival(int pending, Copy& copy);

} // namespace emulation
