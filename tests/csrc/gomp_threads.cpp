// The entry points of OpenMP that gcc's code for this project calls, on std::thread, for ThreadSanitizer alone.
// libgomp is not instrumented: its fork and join go unseen, and every hand-over between threads looks like a race.
// Linked into the instrumented module with hidden symbols, so that torch keeps its own OpenMP.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

constexpr int most_threads = 3;

struct Loop {
    long begin = 0;
    long end = 0;
    long step = 0; // 0: none yet
};

struct Team {
    int size;
    std::atomic<long> chunks_taken{0};
};

struct Member {
    Team* team = nullptr;
    int number = 0;
    Loop loop;
};

thread_local Member self;

void run_member(const Member& member, void (*body)(void*), void* data) {
    const Member before = self;
    self = member;
    body(data);
    self = before;
}

void run_team(void (*body)(void*), void* data, unsigned threads, const Loop& loop) {
    Team team{threads == 0 ? most_threads : static_cast<int>(threads)};
    std::vector<std::thread> others;
    for (int number = 1; number < team.size; ++number) {
        others.emplace_back(run_member, Member{&team, number, loop}, body, data);
    }
    run_member({&team, 0, loop}, body, data);
    for (std::thread& other : others) {
        other.join();
    }
}

Loop rising_loop(long begin, long end, long increment, long chunk) {
    if (increment <= 0 || self.loop.step != 0) {
        std::fputs("gomp_threads.cpp: only one rising loop in each parallel region is supported\n", stderr);
        std::abort();
    }
    return {begin, end, increment * chunk};
}

} // namespace

extern "C" {

int omp_get_max_threads() {
    return most_threads;
}

int omp_get_num_threads() {
    return self.team == nullptr ? 1 : self.team->size;
}

int omp_get_thread_num() {
    return self.number;
}

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned) {
    run_team(body, data, threads, {});
}

void GOMP_parallel_loop_nonmonotonic_dynamic(void (*body)(void*), void* data, unsigned threads, long begin, long end,
                                             long increment, long chunk, unsigned) {
    run_team(body, data, threads, rising_loop(begin, end, increment, chunk));
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* first, long* last) {
    // Relaxed: taking a chunk orders nothing between threads, and must hide no race.
    const long chunk = self.team->chunks_taken.fetch_add(1, std::memory_order_relaxed);
    *first = self.loop.begin + chunk * self.loop.step;
    *last = std::min(*first + self.loop.step, self.loop.end);
    return *first < self.loop.end;
}

bool GOMP_loop_nonmonotonic_dynamic_start(long begin, long end, long increment, long chunk, long* first, long* last) {
    self.loop = rising_loop(begin, end, increment, chunk);
    return GOMP_loop_nonmonotonic_dynamic_next(first, last);
}

void GOMP_loop_end_nowait() {}

} // extern "C"
