// The scheduler of the emulation. Compiled without sanitizers: what it tells them stands in fibers.h.
#include "machine.h"

#include <algorithm>
#include <cstdlib>

namespace emulation {

Machine machine;

void to_scheduler(State state) {
    machine.threads[machine.running]->state = state;
    leave_fiber();
}

namespace {

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

std::string number_of_first() {
    return std::to_string(machine.blocks.front().index.x);
}

void stop(const std::string& message) {
    machine.error = message;
    machine.code = KERNEL_ERROR;
    machine.failed = true;
}

void describe_deadlock() {
    const int all = machine.together();
    int waiting = 0, done = 0, phases = 0, clusters = 0;
    for (int i = 0; i < all; ++i) {
        const State state = machine.threads[i]->state;
        waiting += state == State::at_block_barrier || state == State::at_part_barrier;
        clusters += state == State::at_cluster_barrier;
        phases += state == State::at_phase;
        done += state == State::done;
    }
    stop("block " + number_of_first() + ": of " + std::to_string(all) + " threads " + std::to_string(waiting) +
         " wait at __syncthreads, " + std::to_string(done) + " have ended, " + std::to_string(phases) +
         " wait for an mbarrier, " + std::to_string(clusters) + " for their cluster, " +
         std::to_string(all - waiting - done - phases - clusters) + " wait in a warp operation");
}

bool are_all(int first, int end, State state, State or_else) {
    return std::all_of(machine.threads.begin() + first, machine.threads.begin() + end,
                       [=](const auto& thread) { return thread->state == state || thread->state == or_else; });
}

void set_ready(int first, int end, State state) {
    for (int i = first; i < end; ++i) {
        State& own = machine.threads[i]->state;
        own = own == state ? State::ready : own;
    }
}

bool release_block_barrier(int block) {
    const int first = block * machine.count, end = first + machine.count;
    if (!are_all(first, end, State::at_block_barrier, State::at_block_barrier)) {
        return false;
    }
    set_ready(first, end, State::at_block_barrier);
    ++machine.blocks[block].barriers;
    return true;
}

bool release_cluster_barrier() {
    if (!are_all(0, machine.together(), State::at_cluster_barrier, State::done)) {
        return false;
    }
    set_ready(0, machine.together(), State::at_cluster_barrier);
    ++machine.cluster_barriers;
    return true;
}

// What runs first: numbers of blocks, and of the threads of one.
struct Order {
    std::vector<int> blocks, threads;
    bool shuffle;

    void mix(std::vector<int>& numbers) const {
        if (shuffle) {
            std::shuffle(numbers.begin(), numbers.end(), machine.random);
        }
    }
};

// One turn of every thread of a block that can run; false if none could.
bool run_turn(int block, Order& order) {
    order.mix(order.threads);
    bool ran = false;
    for (const int number : order.threads) {
        Thread& thread = *machine.threads[block * machine.count + number];
        if (thread.state == State::ready) {
            ran = true;
            machine.running = block * machine.count + number;
            enter_fiber(*thread.fiber);
            if (machine.failed) {
                return true;
            }
        }
    }
    return ran || release_block_barrier(block);
}

// A block goes on as far as it can before the next one does, or as far as chance has it; false if none could.
bool run_round(Order& order) {
    order.mix(order.blocks);
    bool ran = false;
    for (const int block : order.blocks) {
        while (!machine.failed && run_turn(block, order)) {
            ran = true;
            if (order.shuffle && machine.random() % 4 == 0) {
                break;
            }
        }
    }
    return ran || machine.failed;
}

bool all_done() {
    return are_all(0, machine.together(), State::done, State::done);
}

void start_blocks(int first_block, int cluster, std::size_t shared) {
    machine.blocks.assign(cluster, Block());
    for (int k = 0; k < cluster; ++k) {
        machine.shared.push_back(std::make_unique<SharedBlock>(shared));
        machine.blocks[k].index = {static_cast<unsigned>(first_block + k), 0, 0};
        machine.blocks[k].shared = machine.shared.back()->data();
        machine.blocks[k].warps.assign((machine.count + LANES - 1) / LANES, Warp());
    }
    for (Phases& phases : machine.phases) {
        phases.barrier = nullptr;
    }
    for (Box& box : machine.boxes) {
        box.barrier = nullptr;
    }
    for (int i = 0; i < machine.together(); ++i) {
        machine.threads[i]->state = State::ready;
        machine.threads[i]->copies.assign(1, {});
        machine.threads[i]->products.assign(1, {});
    }
}

// Blocks from `first_block` on, together.
void run_blocks(int first_block, int cluster, std::size_t shared, const std::string& order) {
    start_blocks(first_block, cluster, shared);
    release(&machine.begin);
    Order numbers{first_order(cluster, order), first_order(machine.count, order), order.rfind("random", 0) == 0};
    while (!all_done()) {
        if (!run_round(numbers) && !release_cluster_barrier()) {
            describe_deadlock();
        }
        if (machine.failed) {
            return;
        }
    }
    if (std::any_of(std::begin(machine.boxes), std::end(machine.boxes), [](const Box& box) { return box.barrier; })) {
        stop("block " + number_of_first() + " has ended before its copies");
    }
    for (int k = 0; k < cluster; ++k) {
        SharedBlock::retire(machine.shared);
    }
}

void prepare(int threads, int cluster) {
    const int all = threads * cluster;
    while (static_cast<int>(machine.threads.size()) < all) {
        machine.threads.push_back(std::make_unique<Thread>());
    }
    for (int i = 0; i < all; ++i) {
        machine.threads[i]->index = {static_cast<unsigned>(i % threads), 0, 0};
        if (!machine.threads[i]->fiber) {
            machine.threads[i]->fiber = std::make_unique<Fiber>(run_thread);
        }
    }
}

} // namespace

bool has_ended(int block) {
    const int first = block * machine.count;
    return are_all(first, first + machine.count, State::done, State::done);
}

int take_error() {
    const int code = machine.code;
    machine.code = 0;
    return code;
}

const char* message(int error) {
    return error == 0 ? "no error" : machine.error.empty() ? "invalid argument" : machine.error.c_str();
}

void fail(const char* operation, const char* what) {
    stop(std::string(operation) + ": " + what + " (block " + std::to_string(machine.block().index.x) + ", thread " +
         std::to_string(machine.in_block()) + ")");
    leave_fiber();
    std::abort();
}

void launch(std::int64_t blocks, int threads, std::size_t shared, const std::function<void()>& body, int cluster) {
    machine.error.clear();
    machine.code = 0;
    machine.failed = false;
    if (threads < 1 || threads > MOST_THREADS || blocks < 1 || blocks > 0x7fffffff || blocks % cluster != 0) {
        machine.error = "invalid configuration argument";
        machine.code = BAD_CONFIGURATION;
        return;
    }
    prepare(threads, cluster);
    machine.count = threads;
    machine.body = &body;
    machine.size = {static_cast<unsigned>(threads), 1, 1};
    machine.grid = {static_cast<unsigned>(blocks), 1, 1};
    const std::string order = machine.order = wanted_order();
    const auto colon = order.find(':');
    machine.random.seed(colon == std::string::npos ? 0u : std::stoul(order.substr(colon + 1)));
    std::vector<int> numbers = first_order(static_cast<int>(blocks) / cluster, order);
    if (order.rfind("random", 0) == 0) {
        std::shuffle(numbers.begin(), numbers.end(), machine.random);
    }
    for (const int number : numbers) {
        run_blocks(number * cluster, cluster, shared, order);
        if (machine.failed) {
            machine.threads.clear(); // fibers that stopped halfway
            break;
        }
    }
    acquire(&machine.end);
    machine.shared.clear();
}

} // namespace emulation
