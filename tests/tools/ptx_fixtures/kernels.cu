// Kernels whose PTX the interpreter's tests run; `python -m tests.tools.ptx_fixtures.write` writes it beside them.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

__constant__ float scales[4] = {1.0f, 2.0f, 0.5f, 4.0f};

// A row a block: y = softmax(x) * scales[column mod 4].
extern "C" __global__ void softmax(const float* x, float* y, int n) {
    __shared__ float partial[32];
    const float* row = x + (size_t)blockIdx.x * n;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    float most = -INFINITY;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        most = fmaxf(most, row[i]);
    for (int o = 16; o; o >>= 1)
        most = fmaxf(most, __shfl_xor_sync(~0u, most, o));
    if (lane == 0)
        partial[warp] = most;
    __syncthreads();
    for (int i = 0; i < warps; i++)
        most = fmaxf(most, partial[i]);
    __syncthreads();
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        sum += expf(row[i] - most);
    for (int o = 16; o; o >>= 1)
        sum += __shfl_down_sync(~0u, sum, o);
    if (lane == 0)
        partial[warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < warps; i++)
        sum += partial[i];
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        y[(size_t)blockIdx.x * n + i] = expf(row[i] - most) / sum * scales[i & 3];
}

// 64-bit keys of (value, index), the largest of each column kept by atomicMax; a histogram in shared memory; a double
// sum.
extern "C" __global__ void reduce(const float* x, unsigned long long* keys, unsigned* histogram, double* sum, int rows,
                                  int n) {
    __shared__ unsigned counts[8];
    if (threadIdx.x < 8)
        counts[threadIdx.x] = 0;
    __syncthreads();
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    double total = 0.0;
    if (column < n) {
        for (int r = blockIdx.y; r < rows; r += gridDim.y) {
            const float value = x[(size_t)r * n + column];
            const unsigned bits = __float_as_uint(value), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
            atomicMax(keys + column, (unsigned long long)ordered << 32 | (0xFFFFFFFFu - r));
            atomicAdd(&counts[(unsigned)(value * 3.0f + 4.0f) & 7u], 1u);
            total += (double)value;
        }
        atomicAdd(sum, total);
    }
    __syncthreads();
    if (threadIdx.x < 8 && counts[threadIdx.x])
        atomicAdd(histogram + threadIdx.x, counts[threadIdx.x]);
}

// C = A B^T of bfloat16 by one warp for each 16 x 8 tile: two stages of cp.async, ldmatrix, mma.sync. Sizes are
// multiples.
extern "C" __global__ void tensor(const __nv_bfloat16* A, const __nv_bfloat16* B, float* C, int n, int k) {
    __shared__ __align__(16) __nv_bfloat16 a[2][16][24], b[2][8][24];
    const int lane = threadIdx.x, m0 = blockIdx.y * 16, n0 = blockIdx.x * 8;
    auto fetch = [&](int stage, int at) {
        const __nv_bfloat16* from = A + (size_t)(m0 + lane / 2) * k + at + lane % 2 * 8;
        unsigned to = __cvta_generic_to_shared(&a[stage][lane / 2][lane % 2 * 8]);
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
        if (lane < 16) {
            from = B + (size_t)(n0 + lane / 2) * k + at + lane % 2 * 8;
            to = __cvta_generic_to_shared(&b[stage][lane / 2][lane % 2 * 8]);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
        }
        asm volatile("cp.async.commit_group;");
    };
    float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    fetch(0, 0);
    for (int at = 0, stage = 0; at < k; at += 16, stage ^= 1) {
        if (at + 16 < k) {
            fetch(stage ^ 1, at + 16);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncwarp();
        unsigned fa[4], fb[2];
        unsigned from = __cvta_generic_to_shared(&a[stage][lane % 16][lane / 16 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                     : "r"(from));
        from = __cvta_generic_to_shared(&b[stage][lane % 8][lane / 8 % 2 * 8]);
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(from));
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
                     "%9}, {%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
        __syncwarp();
    }
    for (int i = 0; i < 4; i++)
        C[(size_t)(m0 + lane / 4 + i / 2 * 8) * n + n0 + lane % 4 * 2 + i % 2] = c[i];
}

// Local memory by computed index, a switch, integer division and bit tricks, packed halves.
extern "C" __global__ void mixed(const int* x, int* y, const __half2* h, __half2* g, int n) {
    int own[8];
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    for (int i = 0; i < 8; i++)
        own[i] = x[t] + i;
    for (int i = 0; i < n; i++)
        own[x[t] + i & 7] += own[x[t] * 3 & 7] >> 1;
    int sum = 0;
    for (int i = 0; i < 8; i++)
        sum = sum * 7 + own[i];
    switch (t & 7) {
    case 0:
        sum += __popc(sum);
        break;
    case 1:
        sum ^= __brev(sum);
        break;
    case 2:
        sum -= __clz(sum);
        break;
    case 3:
        sum = sum / 7 + sum % 11;
        break;
    case 4:
        sum = (unsigned)sum / 13u;
        break;
    case 5:
        sum = __byte_perm(sum, t, 0x2541);
        break;
    case 6:
        sum = __funnelshift_l(sum, t, 9);
        break;
    }
    y[t] = sum + __reduce_add_sync(~0u, t & 3) + __popc(__ballot_sync(~0u, sum & 1)) + __syncthreads_count(sum & 2);
    g[t] = __hmax2(__hfma2(h[t], h[t], __hadd2(h[t], h[t])), __float2half2_rn(0.5f));
}
