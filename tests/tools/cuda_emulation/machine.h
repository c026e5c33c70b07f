// The state of the emulated machine, shared by the scheduler and by what kernels call.
#pragma once

#include "emulation.h"
#include "fibers.h"
#include "phases.h"

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace emulation {

constexpr int LANES = 32;
constexpr int MOST_THREADS = 1024;
constexpr int KERNEL_ERROR = 719; // cudaErrorLaunchFailure
constexpr int BAD_CONFIGURATION = 9;
constexpr int MOST_BARRIERS = 64, MOST_BOXES = 64;

enum class State { ready, at_block_barrier, at_part_barrier, at_cluster_barrier, at_warp_operation, at_phase, done };

struct Thread {
    std::unique_ptr<Fiber> fiber;
    Index index{};
    State state = State::ready;
    void* waits_for = nullptr;                      // where the state is at_phase
    std::deque<std::vector<Copy>> copies;           // groups, the last one open
    std::deque<std::vector<AsyncProduct>> products; // as copies
};

// An mbarrier: what its phase still waits for, and the parity of that phase.
struct Phases {
    void* barrier = nullptr;
    int arrivals = 0, missing = 0, bytes = 0;
    unsigned parity = 0;
    char handover, under_way; // what sanitizers know arrivals and copies by
};

struct Warp {
    unsigned arrived = 0;
    unsigned mask = 0;
    const char* operation = nullptr;
    int parity = 0; // the slots of one operation are read while the next one is filled
    Slot slots[2][LANES];
    char handover[2]; // what sanitizers know a __syncwarp by
};

struct Block {
    Index index{};
    unsigned char* shared = nullptr;
    std::vector<Warp> warps;
    int barriers = 0, part_barriers = 0, at_part_barrier = 0;
    char handover[2], part_handover[2];
};

struct Machine {
    std::vector<std::unique_ptr<Thread>> threads; // of one block after the other; kept from launch to launch
    std::vector<Block> blocks;                    // that run together: a cluster, or one
    Index size{}, grid{};
    int count = 0; // threads of a block
    int running = 0;
    int cluster_barriers = 0;
    const std::function<void()>* body = nullptr;
    std::vector<std::unique_ptr<SharedBlock>> shared;
    // Arrays, as sanitizers see what allocates; those of no barrier are free.
    Phases phases[MOST_BARRIERS];
    Box boxes[MOST_BOXES];
    std::string order;
    std::mt19937 random;
    std::string error;
    int code = 0;
    bool failed = false;
    char begin, end, cluster_handover[2];

    int first_thread() const { return running / count * count; } // of the running thread's block
    int in_block() const { return running % count; }
    Block& block() { return blocks[running / count]; }
    int together() const { return static_cast<int>(blocks.size()) * count; }
};

extern Machine machine;

// Whether all threads of a block have ended.
bool has_ended(int block);

// Stop the running thread until its state is set to ready.
void to_scheduler(State state);

} // namespace emulation
