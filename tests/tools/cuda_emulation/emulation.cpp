// The scheduler of the emulation. Compiled without sanitizers: what it tells them stands in fibers.h.
#include "emulation.h"
#include "fibers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulation {

namespace {

constexpr int LANES = 32;
constexpr int MOST_THREADS = 1024;
constexpr int KERNEL_ERROR = 719; // cudaErrorLaunchFailure
constexpr int BAD_CONFIGURATION = 9;

enum class State { ready, at_block_barrier, at_warp_operation, done };

struct Thread {
    std::unique_ptr<Fiber> fiber;
    Index index{};
    State state = State::ready;
    std::deque<std::vector<Copy>> copies; // groups, the last one open
};

struct Warp {
    unsigned arrived = 0;
    unsigned mask = 0;
    const char* operation = nullptr;
    int parity = 0; // the slots of one operation are read while the next one is filled
    Slot slots[2][LANES];
    char handover[2]; // what sanitizers know a __syncwarp by
};

struct Machine {
    std::vector<std::unique_ptr<Thread>> threads; // kept from launch to launch
    std::vector<Warp> warps;
    Index block{}, size{}, grid{};
    int count = 0;
    int running = 0;
    int barriers = 0;
    const std::function<void()>* body = nullptr;
    std::vector<std::unique_ptr<SharedBlock>> shared;
    std::mt19937 random;
    std::string error;
    int code = 0;
    bool failed = false;
    char begin, end, handover[2];
};

Machine machine;

Thread& current() { return *machine.threads[machine.running]; }
Warp& warp() { return machine.warps[machine.running / LANES]; }

void to_scheduler(State state) {
    current().state = state;
    leave_fiber();
}

void run_thread() {
    for (;;) {
        acquire(&machine.begin);
        (*machine.body)();
        release(&machine.end);
        to_scheduler(State::done);
    }
}

std::vector<int> first_order(int count, const std::string& order) {
    std::vector<int> numbers(count);
    for (int i = 0; i < count; ++i) {
        numbers[i] = order == "reverse" ? count - 1 - i : i;
    }
    return numbers;
}

std::string wanted_order() {
    const char* order = std::getenv("PCSR_EMULATION_ORDER");
    return order ? order : "forward";
}

void describe_deadlock() {
    int waiting = 0, done = 0;
    for (int i = 0; i < machine.count; ++i) {
        waiting += machine.threads[i]->state == State::at_block_barrier;
        done += machine.threads[i]->state == State::done;
    }
    machine.error = "block " + std::to_string(machine.block.x) + ": of " + std::to_string(machine.count) + " threads " +
                    std::to_string(waiting) + " wait at __syncthreads, " + std::to_string(done) + " have ended, " +
                    std::to_string(machine.count - waiting - done) + " wait in a warp operation";
    machine.code = KERNEL_ERROR;
    machine.failed = true;
}

// One turn of every thread that can run; false if none could.
bool run_turn(std::vector<int>& order, bool shuffle) {
    if (shuffle) {
        std::shuffle(order.begin(), order.end(), machine.random);
    }
    bool ran = false;
    for (const int number : order) {
        Thread& thread = *machine.threads[number];
        if (thread.state == State::ready) {
            ran = true;
            machine.running = number;
            enter_fiber(*thread.fiber);
            if (machine.failed) {
                return false;
            }
        }
    }
    return ran;
}

bool release_barrier() {
    for (int i = 0; i < machine.count; ++i) {
        if (machine.threads[i]->state != State::at_block_barrier) {
            return false;
        }
    }
    for (int i = 0; i < machine.count; ++i) {
        machine.threads[i]->state = State::ready;
    }
    ++machine.barriers;
    return true;
}

bool all_done() {
    return std::all_of(machine.threads.begin(), machine.threads.begin() + machine.count,
                       [](const auto& thread) { return thread->state == State::done; });
}

void run_block(std::size_t shared, const std::string& order) {
    machine.shared.push_back(std::make_unique<SharedBlock>(shared));
    machine.warps.assign((machine.count + LANES - 1) / LANES, Warp());
    machine.barriers = 0;
    for (int i = 0; i < machine.count; ++i) {
        machine.threads[i]->state = State::ready;
        machine.threads[i]->copies.assign(1, {});
    }
    release(&machine.begin);
    std::vector<int> numbers = first_order(machine.count, order);
    const bool shuffle = order.rfind("random", 0) == 0;
    while (!all_done()) {
        if (!run_turn(numbers, shuffle) && !machine.failed && !release_barrier()) {
            describe_deadlock();
        }
        if (machine.failed) {
            return;
        }
    }
    machine.shared.back()->retire(machine.shared);
}

void prepare(int threads) {
    while (static_cast<int>(machine.threads.size()) < threads) {
        machine.threads.push_back(std::make_unique<Thread>());
        Thread& made = *machine.threads.back();
        made.index = {static_cast<unsigned>(machine.threads.size() - 1), 0, 0};
    }
    for (int i = 0; i < threads; ++i) {
        if (!machine.threads[i]->fiber) {
            machine.threads[i]->fiber = std::make_unique<Fiber>(run_thread);
        }
    }
}

} // namespace

const Index& thread_index() { return current().index; }
const Index& block_index() { return machine.block; }
const Index& block_size() { return machine.size; }
const Index& grid_size() { return machine.grid; }
int lane() { return machine.running % LANES; }
unsigned char* shared_memory() { return machine.shared.back()->data(); }

int take_error() {
    const int code = machine.code;
    machine.code = 0;
    return code;
}

const char* message(int error) {
    return error == 0 ? "no error" : machine.error.empty() ? "invalid argument" : machine.error.c_str();
}

void fail(const char* operation, const char* what) {
    machine.error = std::string(operation) + ": " + what + " (block " + std::to_string(machine.block.x) + ", thread " +
                    std::to_string(machine.running) + ")";
    machine.code = KERNEL_ERROR;
    machine.failed = true;
    leave_fiber();
    std::abort();
}

void launch(std::int64_t blocks, int threads, std::size_t shared, const std::function<void()>& body) {
    machine.error.clear();
    machine.code = 0;
    machine.failed = false;
    if (threads < 1 || threads > MOST_THREADS || blocks < 1 || blocks > 0x7fffffff) {
        machine.error = "invalid configuration argument";
        machine.code = BAD_CONFIGURATION;
        return;
    }
    prepare(threads);
    machine.count = threads;
    machine.body = &body;
    machine.size = {static_cast<unsigned>(threads), 1, 1};
    machine.grid = {static_cast<unsigned>(blocks), 1, 1};
    const std::string order = wanted_order();
    const auto colon = order.find(':');
    machine.random.seed(colon == std::string::npos ? 0u : std::stoul(order.substr(colon + 1)));
    std::vector<int> numbers = first_order(static_cast<int>(blocks), order);
    if (order.rfind("random", 0) == 0) {
        std::shuffle(numbers.begin(), numbers.end(), machine.random);
    }
    for (const int number : numbers) {
        machine.block = {static_cast<unsigned>(number), 0, 0};
        run_block(shared, order);
        if (machine.failed) {
            machine.threads.clear(); // fibers that stopped halfway
            break;
        }
    }
    acquire(&machine.end);
    machine.shared.clear();
}

void block_barrier() {
    char* handover = &machine.handover[machine.barriers % 2];
    release(handover);
    to_scheduler(State::at_block_barrier);
    acquire(handover);
}

Slot* meet(const char* operation, unsigned mask, const std::uint32_t* words, int count, Combine combine) {
    Warp& own = warp();
    const unsigned bit = 1u << lane();
    if (!(mask & bit)) {
        fail(operation, "the calling lane is not in the mask");
    }
    if (own.arrived == 0) {
        own.mask = mask;
        own.operation = operation;
    } else if (own.mask != mask || std::strcmp(own.operation, operation) != 0) {
        fail(operation, "lanes of one warp are at different operations");
    }
    Slot* slots = own.slots[own.parity];
    for (int k = 0; k < count; ++k) {
        slots[lane()][k] = words[k];
    }
    own.arrived |= bit;
    if (own.arrived != mask) {
        to_scheduler(State::at_warp_operation);
        return slots;
    }
    if (combine) {
        combine(slots);
    }
    own.arrived = 0;
    own.parity ^= 1;
    const int first = machine.running / LANES * LANES;
    for (int other = 0; other < LANES && first + other < machine.count; ++other) {
        Thread& thread = *machine.threads[first + other];
        if (mask >> other & 1u && thread.state == State::at_warp_operation) {
            thread.state = State::ready;
        }
    }
    return slots;
}

const std::uint32_t* exchange(const char* operation, unsigned mask, std::uint32_t word) {
    static thread_local std::uint32_t seen[LANES];
    const Slot* slots = meet(operation, mask, &word, 1);
    for (int other = 0; other < LANES; ++other) {
        seen[other] = slots[other][0];
    }
    return seen;
}

void warp_barrier(unsigned mask) {
    Warp& own = warp();
    char* handover = &own.handover[own.parity];
    release(handover);
    meet("__syncwarp", mask, nullptr, 0);
    acquire(handover);
}

void start_copy(void* to, const void* from, int valid) {
    current().copies.back().push_back(
        {static_cast<unsigned char*>(to), static_cast<const unsigned char*>(from), valid});
}

void commit_copies() { current().copies.emplace_back(); }

bool next_arrival(int pending, Copy& copy) {
    auto& groups = current().copies;
    while (static_cast<int>(groups.size()) > pending + 1) {
        auto& oldest = groups.front();
        if (oldest.empty()) {
            groups.pop_front();
            continue;
        }
        copy = oldest.back();
        oldest.pop_back();
        return true;
    }
    return false;
}

} // namespace emulation
