// Prints how much dynamic shared memory launchers ask for: the start of a kernel's name and bytes, a line each.
#include "hardest.cuh"
#include "mixture_float32.cuh"
#include "wide_tile.cuh"

#include <cstdio>

using namespace pcsr::cuda;

int main() {
    std::printf("walk_tiles %d\n", PIPELINE_BYTES);
    std::printf("walk_wide_tiles %zu\n", sizeof(WideMemory<HardestNegatives>));
    std::printf("mixture_sums %zu\n", MIXTURE_THREADS * sizeof(MixtureSums));
    std::printf("mixture_float32_sums %zu\n", sizeof(Float32Memory));
    std::printf("mixture_step %zu\n", MIXTURE_THREADS * sizeof(MixtureSums));
}
