// Faults on purpose: what a sanitizer that works has to report. Built by test_sanitizers.py.
#include <climits>
#include <cstring>
#include <vector>

namespace {

int beyond_the_end(int count) {
    std::vector<int> values(static_cast<std::size_t>(count), 1);
    return values.data()[count];
}

int overflow(int count) {
    return INT_MAX - 4 + count;
}

// Threads write each to its own entries, then all to `shared` ones.
int sum(int shared) {
    std::vector<int> values(64, 0);
#pragma omp parallel for schedule(dynamic, 1) num_threads(3)
    for (int i = 0; i < 64; ++i) {
        values[static_cast<std::size_t>(i)] += i;
    }
#pragma omp parallel for num_threads(3)
    for (int i = 0; i < 64; ++i) {
        values[static_cast<std::size_t>(i % (64 - shared))] += 1;
    }
    return values[5];
}

} // namespace

int main(int arguments, char** names) {
    if (arguments != 2) {
        return 2;
    }
    if (std::strcmp(names[1], "address") == 0) {
        return beyond_the_end(arguments + 5) == 12345;
    }
    if (std::strcmp(names[1], "undefined") == 0) {
        return overflow(arguments + 5) == 12345;
    }
    return sum(std::strcmp(names[1], "race") == 0 ? 40 : 0) == 12345;
}
