// From the head's codes to detections, by one block: decode, filters, suppression, class changes.
//
// In: codes [10][P], scores and labels [P], settings. Out: counts and the detections that are left, in the
// order of the CPU path. A thread is a proposal, then a place in the order of the step at hand. Overlaps
// are decided in float32 where the threshold is far enough away and in float64 otherwise.
#include "include/footprint.cuh"

namespace bev {

constexpr u32 MOST = 1024;  // proposals, and threads
constexpr u32 WARPS = MOST / WARP;
constexpr u32 CLASSES = 16, BINS = 16, PASSES = 16, COLUMNS = 16;
constexpr u32 NO_GROUP = 255;
constexpr u32 CIRCLE_SQUARED = 0, ROTATED = 1, CIRCLE_DISTANCE = 2, IOU_BEV = 3;
constexpr float MARGIN = 1e-3f;  // of an IoU in float32, for boxes of ordinary extents
constexpr u32 COUNTS = 12, RECORD = 11;
enum Count { SEEN, UNPAIRED, INVALID, NOT_FINITE, OUTSIDE, UNCERTAIN, LOW, SUPPRESSED, REMAPPED, INEXPRESSIBLE, KEPT };

// One run over the boxes; a step of the model is one run, or several where its groups share classes.
struct Pass {
    u32 kind, last_of_step, pre_max, post_max;
    double threshold, search_distance;
    i32 group[CLASSES];  // negative: not looked at
};

struct RemapEntry {
    double least, most;
    u32 allowed;
    i32 target;  // class, own class for the own column, negative: not a class of the model
};

struct Settings {
    float factor, voxel[2], lower[2], range[6];
    u32 classes, bins, passes, pedestrian, columns;
    float yaw_norm[CLASSES];
    float bin_limit[BINS];
    float least_score[CLASSES][BINS];
    Pass pass[PASSES];
    i32 own_column[CLASSES];
    RemapEntry remap[CLASSES][COLUMNS];
};

struct PostprocessParams {
    const float* codes;
    const float* score;
    const i32* label;
    const Settings* settings;
    u32* mask;    // [32][1024]
    u32* pairs;   // [1024 * 1023 / 2]
    u32* output;  // 12 counts, 11 words a detection
    u32 proposals, pad;
};

struct Box {
    float x, y, z, length, width, height, yaw, vx, vy, score;
    u32 label;
};

struct Shared {
    float4 place[MOST];  // in sorted order: x, y, radius (m), group or class
    float4 shape[MOST];  // by proposal: length, width, sine, cosine
    float4 where[MOST];  // by proposal: x, y, yaw, score
    u64 keys[MOST];
    u32 label[MOST];
    u16 list[MOST];      // proposals that are left
    u16 order[MOST];     // the same, sorted
    u16 slot[MOST];
    u32 keep[WARPS], kept[WARPS], open[WARPS];
    u32 group_size[CLASSES + 1];
    u32 counts[COUNTS];
    u32 left, members, pairs;
};

// The launcher asks for as much.
static_assert(sizeof(Shared) == 3 * 16 * MOST + 8 * MOST + 4 * MOST + 3 * 2 * MOST + 3 * 32 * 4 + 17 * 4 + 12 * 4 +
                                    3 * 4 + 0,
              "shared memory of the launcher");
static_assert(sizeof(Settings) == 64 + 64 + 64 + 1024 + 16 * 96 + 64 + 256 * 24, "settings of the launcher");

__device__ __forceinline__ bool finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Decodes a proposal and says why it is dropped; KEPT when it is not.
__device__ __forceinline__ Count judge(const PostprocessParams& p, const Settings& s, u32 at, Box& box) {
    float code[10];
#pragma unroll
    for (u32 i = 0; i < 10; ++i) code[i] = p.codes[i * p.proposals + at];
    box.score = p.score[at];
    box.label = static_cast<u32>(p.label[at]);
    if (box.label >= s.classes) return INVALID;
    box.x = add(mul(mul(code[0], s.factor), s.voxel[0]), s.lower[0]);
    box.y = add(mul(mul(code[1], s.factor), s.voxel[1]), s.lower[1]);
    box.length = expf(code[3]);
    box.width = expf(code[4]);
    box.height = expf(code[5]);
    box.z = add(code[2], -mul(box.height, 0.5f));
    box.yaw = atan2f(code[6], code[7]);
    box.vx = code[8];
    box.vy = code[9];
    bool all = finite(box.x) && finite(box.y) && finite(box.z) && finite(box.length) && finite(box.width) &&
               finite(box.height) && finite(box.yaw) && finite(box.vx) && finite(box.vy) && finite(box.score);
    if (!all) return NOT_FINITE;
    bool inside = s.range[0] <= box.x && box.x <= s.range[3] && s.range[1] <= box.y && box.y <= s.range[4] &&
                  s.range[2] <= box.z && box.z <= s.range[5];
    if (!inside) return OUTSIDE;
    float norm = sqrtf(add(mul(code[6], code[6]), mul(code[7], code[7])));
    if (!(norm >= s.yaw_norm[box.label])) return UNCERTAIN;
    if (s.bins == 0) return KEPT;
    float squared = add(mul(box.x, box.x), mul(box.y, box.y));
    u32 bin = 0;
    while (bin < s.bins && !(squared < mul(s.bin_limit[bin], s.bin_limit[bin]))) ++bin;
    return bin < s.bins && box.score >= s.least_score[box.label][bin] ? KEPT : LOW;
}

// Bits below the lane.
__device__ __forceinline__ u32 lower_bits() { return (1u << threadIdx.x % WARP) - 1u; }

// Number of set bits before `place` in words of 32.
__device__ __forceinline__ u32 bits_before(const u32* words, u32 place) {
    u32 sum = 0;
    for (u32 i = 0; i < place / WARP; ++i) sum += __popc(words[i]);
    return place % WARP == 0 ? sum : sum + __popc(words[place / WARP] & ((1u << place % WARP) - 1u));
}

// The same up to this thread's warp, for all lanes of it.
__device__ __forceinline__ u32 bits_before_warp(const u32* words) {
    u32 lane = threadIdx.x % WARP;
    return __reduce_add_sync(ALL_LANES, lane < threadIdx.x / WARP ? __popc(words[lane]) : 0u);
}

// Keeps the places of `from` whose flag is set, in order.
__device__ __forceinline__ void compact(Shared& m, const u16* from, bool stays) {
    u32 word = __ballot_sync(ALL_LANES, stays), warp = threadIdx.x / WARP;
    u16 own = from[threadIdx.x];
    if (threadIdx.x % WARP == 0) m.keep[warp] = word;
    __syncthreads();
    u32 before = bits_before_warp(m.keep);
    if (stays) m.list[before + __popc(word & lower_bits())] = own;
    if (threadIdx.x == MOST - 1) m.left = before + __popc(word);
    __syncthreads();
}

// Sorts the first `size` keys (a power of two of at least 32), one a thread, ascending.
__device__ __forceinline__ u64 sorted(Shared& m, u64 key, u32 size) {
    u32 own = threadIdx.x;
    for (u32 span = 2; span <= size; span *= 2) {
        for (u32 stride = span / 2; stride > 0; stride /= 2) {
            u64 other;
            if (stride >= WARP) {
                m.keys[own] = key;
                __syncthreads();
                other = m.keys[own ^ stride];
                __syncthreads();
            } else {
                other = __shfl_xor_sync(ALL_LANES, key, stride);
            }
            bool low = ((own & stride) == 0) == ((own & span) == 0);
            key = (key < other) == low ? key : other;
        }
    }
    return key;
}

// Puts the boxes of a pass in order: by group, then best first, then as they were. Returns whether this
// thread's place holds a box that the pass looks at.
__device__ __forceinline__ bool arrange(Shared& m, const Settings& s, const Pass& pass) {
    u32 own = threadIdx.x, size = WARP;
    while (size < m.left) size *= 2;
    bool grouped = pass.kind == CIRCLE_SQUARED || pass.kind == ROTATED;
    if (own <= CLASSES) m.group_size[own] = 0;
    if (own == 0) m.members = 0, m.pairs = 0;
    __syncthreads();
    u64 key = ~0ull;
    if (own < m.left) {
        u32 id = m.list[own], group = 0, bits = __float_as_uint(m.where[id].w);
        if (grouped) group = pass.group[m.label[id]] < 0 ? NO_GROUP : static_cast<u32>(pass.group[m.label[id]]);
        u32 rising = bits >> 31 ? ~bits : bits | 0x80000000u;
        key = static_cast<u64>(group) << 48 | static_cast<u64>(~rising) << 16 | own;
        if (group != NO_GROUP) {
            atomicAdd(&m.group_size[group], 1u);
            atomicAdd(&m.members, 1u);
        }
    }
    key = sorted(m, key, size);
    __syncthreads();
    m.keys[own] = key;
    bool looked_at = own < m.members;
    if (own < m.left) m.order[own] = m.list[key & 0xffffu];
    if (looked_at) {
        u32 id = m.order[own], group = static_cast<u32>(key >> 48), before = 0;
        for (u32 i = 0; i < group; ++i) before += m.group_size[i];
        looked_at = own - before < pass.pre_max;
        i32 mark = pass.kind == IOU_BEV ? static_cast<i32>(m.label[id]) : static_cast<i32>(group);
        float4 shape = m.shape[id];
        float radius = 0.5f * sqrtf(shape.x * shape.x + shape.y * shape.y);
        if (!looked_at) mark = -1 - static_cast<i32>(own);
        m.place[own] = make_float4(m.where[id].x, m.where[id].y, radius, __int_as_float(mark));
    }
    __syncthreads();
    return looked_at;
}

__device__ __forceinline__ bool ordinary(float4 shape) {
    return fminf(shape.x, shape.y) >= 0.05f && fmaxf(shape.x, shape.y) <= 100.0f;
}

// Whether the box at sorted place `first` overlaps the one at `second` enough to suppress it.
__device__ __forceinline__ bool overlaps(const Shared& m, const Pass& pass, u32 first, u32 second) {
    u32 a = m.order[first], b = m.order[second];
    float4 where_a = m.where[a], where_b = m.where[b], shape_a = m.shape[a], shape_b = m.shape[b];
    bool strict = pass.kind == IOU_BEV;
    if (strict) {
        double dx = add(static_cast<double>(where_a.x), -static_cast<double>(where_b.x));
        double dy = add(static_cast<double>(where_a.y), -static_cast<double>(where_b.y));
        if (!(add(mul(dx, dx), mul(dy, dy)) <= mul(pass.search_distance, pass.search_distance))) return false;
    }
    if (ordinary(shape_a) && ordinary(shape_b)) {
        Turn<float> turn = {shape_a.z, shape_a.w, shape_b.z * shape_a.w - shape_b.w * shape_a.z,
                            shape_b.w * shape_a.w + shape_b.z * shape_a.z};
        Footprint<float> window = {where_a.x, where_a.y, shape_a.x, shape_a.y};
        Footprint<float> other = {where_b.x, where_b.y, shape_b.x, shape_b.y};
        float away = overlap(window, other, turn) - static_cast<float>(pass.threshold);
        if (fabsf(away) > MARGIN) return away > 0.0f;
    }
    Footprint<double> window = {where_a.x, where_a.y, shape_a.x, shape_a.y};
    Footprint<double> other = {where_b.x, where_b.y, shape_b.x, shape_b.y};
    double ratio = exact_overlap(window, where_a.z, other, where_b.z);
    return strict ? ratio > pass.threshold : ratio >= pass.threshold;
}

// Whether two boxes may suppress each other by group or class.
__device__ __forceinline__ bool comparable(const Pass& pass, u32 pedestrian, i32 a, i32 b) {
    if (pass.kind != IOU_BEV) return a == b;
    i32 person = static_cast<i32>(pedestrian);
    return a == b || !(a == person || b == person);
}

// Whether a line certainly separates two boxes; in float32, so with a margin.
__device__ __forceinline__ bool apart(float4 where_a, float4 shape_a, float4 where_b, float4 shape_b) {
    float dx = where_b.x - where_a.x, dy = where_b.y - where_a.y;
    float cosine = fabsf(shape_a.w * shape_b.w + shape_a.z * shape_b.z);
    float sine = fabsf(shape_a.w * shape_b.z - shape_a.z * shape_b.w);
    float a_along = fabsf(shape_a.w * dx + shape_a.z * dy), a_across = fabsf(shape_a.w * dy - shape_a.z * dx);
    float b_along = fabsf(shape_b.w * dx + shape_b.z * dy), b_across = fabsf(shape_b.w * dy - shape_b.z * dx);
    auto beyond = [](float distance, float doubled) { return distance > 0.50005f * doubled + 1e-4f; };
    return beyond(a_along, shape_a.x + shape_b.x * cosine + shape_b.y * sine) ||
           beyond(a_across, shape_a.y + shape_b.x * sine + shape_b.y * cosine) ||
           beyond(b_along, shape_b.x + shape_a.x * cosine + shape_a.y * sine) ||
           beyond(b_across, shape_b.y + shape_a.x * sine + shape_a.y * cosine);
}

// Whether the overlap of two boxes must be computed to know whether it reaches the threshold.
__device__ __forceinline__ bool may_overlap(const Shared& m, const Pass& pass, u32 first, u32 second) {
    u32 a = m.order[first], b = m.order[second];
    float4 shape_a = m.shape[a], shape_b = m.shape[b];
    float area_a = shape_a.x * shape_a.y, area_b = shape_b.x * shape_b.y;
    float smaller = fminf(area_a, area_b), larger = fmaxf(area_a, area_b);
    if (smaller * 1.001f < static_cast<float>(pass.threshold) * larger) return false;
    return !apart(m.where[a], shape_a, m.where[b], shape_b);
}

// Lists the pairs of a tile of 32 x 32 that have to be looked at closely: rows before columns.
__device__ __forceinline__ void list_pairs(const PostprocessParams& p, Shared& m, const Pass& pass, u32 pedestrian,
                                           u32 rows, u32 columns) {
    u32 lane = threadIdx.x % WARP, own = columns + lane, bits = 0;
    bool zero_counts = pass.kind == IOU_BEV ? pass.threshold < 0.0 : pass.threshold <= 0.0;
    if (own < m.members) {
        float4 mine = m.place[own];
#pragma unroll 4
        for (u32 i = 0; i < WARP; ++i) {
            if (rows + i >= own) break;
            float4 other = m.place[rows + i];
            float dx = other.x - mine.x, dy = other.y - mine.y, reach = (other.z + mine.z) * 1.0001f + 1e-4f;
            bool near = comparable(pass, pedestrian, __float_as_int(other.w), __float_as_int(mine.w)) &&
                        (zero_counts || !(dx * dx + dy * dy > reach * reach));
            bits |= static_cast<u32>(near) << i;
        }
        for (u32 rest = zero_counts ? 0 : bits; rest != 0; rest &= rest - 1) {
            u32 i = __ffs(static_cast<int>(rest)) - 1;
            if (!may_overlap(m, pass, rows + i, own)) bits &= ~(1u << i);
        }
    }
    u32 place = __popc(bits);
    for (u32 step = 1; step < WARP; step *= 2) {
        u32 other = __shfl_up_sync(ALL_LANES, place, step);
        if (lane >= step) place += other;
    }
    u32 total = __shfl_sync(ALL_LANES, place, WARP - 1), start = 0;
    if (lane == 0 && total != 0) start = atomicAdd(&m.pairs, total);
    place = place - __popc(bits) + __shfl_sync(ALL_LANES, start, 0);
    for (; bits != 0; bits &= bits - 1) p.pairs[place++] = (rows + __ffs(static_cast<int>(bits)) - 1) << 16 | own;
}

// The same for the rules by distance of centres.
__device__ __forceinline__ u32 circle_tile(const Shared& m, const Pass& pass, u32 rows, u32 columns) {
    u32 own = columns + threadIdx.x % WARP, bits = 0;
    if (own >= m.members) return 0;
    bool strict = pass.kind == CIRCLE_DISTANCE;
    float limit = strict ? static_cast<float>(mul(pass.threshold, pass.threshold)) : static_cast<float>(pass.threshold);
    float4 mine = m.place[own];
#pragma unroll 8
    for (u32 i = 0; i < WARP; ++i) {
        float4 other = m.place[rows + i];
        float dx = other.x - mine.x, dy = other.y - mine.y;
        float squared = add(mul(dx, dx), mul(dy, dy));
        bool hit = strict ? squared < limit : squared <= limit;
        hit = hit && __float_as_int(other.w) == __float_as_int(mine.w) && rows + i < own;
        bits |= static_cast<u32>(hit) << i;
    }
    return bits;
}

// Which boxes suppress which, for all pairs of the pass.
__device__ __forceinline__ void fill_mask(const PostprocessParams& p, Shared& m, const Settings& s, const Pass& pass) {
    u32 words = ceil_div(m.members, WARP), lane = threadIdx.x % WARP;
    u32 row = 0, column = threadIdx.x / WARP;
    bool by_overlap = pass.kind == ROTATED || pass.kind == IOU_BEV;
    // Tiles on and above the diagonal, row by row.
    while (row < words && column >= words) column = column - words + ++row;
    while (row < words) {
        u32 bits = 0;
        if (by_overlap) list_pairs(p, m, pass, s.pedestrian, row * WARP, column * WARP);
        else bits = circle_tile(m, pass, row * WARP, column * WARP);
        p.mask[row * MOST + column * WARP + lane] = bits;
        column += WARPS;
        while (row < words && column >= words) column = column - words + ++row;
    }
    __syncthreads();
    if (!by_overlap) return;
    // All threads share the pairs, wherever they came from; bits are set in any order.
    for (u32 i = threadIdx.x; i < m.pairs; i += MOST) {
        u32 first = p.pairs[i] >> 16, second = p.pairs[i] & 0xffffu;
        if (overlaps(m, pass, first, second)) atomicOr(&p.mask[first / WARP * MOST + second], 1u << first % WARP);
    }
    __syncthreads();
}

// Best first: a box stays when no box that stays suppresses it. In Autoware's overlap rule any better box
// suppresses. Rounds of this settle at least one box each.
__device__ __forceinline__ bool settle(const PostprocessParams& p, Shared& m, const Pass& pass, bool looked_at) {
    u32 own = threadIdx.x, warp = own / WARP;
    u32 words = 0;  // of the mask that are not zero
    if (looked_at) {
#pragma unroll 8
        for (u32 i = 0; i <= warp; ++i) words |= static_cast<u32>(p.mask[i * MOST + own] != 0) << i;
    }
    bool stays = looked_at && words == 0, open = looked_at && words != 0 && pass.kind != IOU_BEV;
    while (true) {
        u32 opened = __ballot_sync(ALL_LANES, open), kept = __ballot_sync(ALL_LANES, stays);
        if (own % WARP == 0) m.open[warp] = opened, m.kept[warp] = kept;
        if (!__syncthreads_or(open)) return stays;
        bool hit = false, waits = false;
        for (u32 rest = open ? words : 0; rest != 0 && !hit; rest &= rest - 1) {
            u32 i = __ffs(static_cast<int>(rest)) - 1, bits = p.mask[i * MOST + own];
            hit = (bits & m.kept[i]) != 0;
            waits = waits || (bits & m.open[i]) != 0;
        }
        stays = stays || (open && !hit && !waits);
        open = open && !hit && waits;
        __syncthreads();
    }
}

// Cuts the boxes of every group that are beyond its size.
__device__ __forceinline__ bool within_size(const Shared& m, const Pass& pass, bool stays) {
    u32 before = bits_before_warp(m.kept);
    if (!stays || pass.post_max >= MOST) return stays;
    u32 group = static_cast<u32>(m.keys[threadIdx.x] >> 48), start = 0;
    for (u32 i = 0; i < group; ++i) start += m.group_size[i];
    u32 own = before + __popc(m.kept[threadIdx.x / WARP] & lower_bits());
    return own - bits_before(m.kept, start) < pass.post_max;
}

// Runs the passes; `slot` holds a flag for every place of the list in steps by group.
__device__ __forceinline__ void suppress(const PostprocessParams& p, Shared& m, const Settings& s) {
    bool first_of_step = true;
    for (u32 at = 0; at < s.passes; ++at) {
        const Pass& pass = s.pass[at];
        if (first_of_step) m.slot[threadIdx.x] = 1;
        bool looked_at = arrange(m, s, pass);
        fill_mask(p, m, s, pass);
        bool stays = settle(p, m, pass, looked_at);
        __syncthreads();
        stays = within_size(m, pass, stays);
        if (pass.kind == CIRCLE_DISTANCE || pass.kind == IOU_BEV) {
            compact(m, m.order, stays);
            continue;
        }
        if (threadIdx.x < m.members) m.slot[m.keys[threadIdx.x] & 0xffffu] = stays;
        __syncthreads();
        first_of_step = pass.last_of_step;
        if (first_of_step) compact(m, m.list, threadIdx.x < m.left && m.slot[threadIdx.x]);
    }
}

// Changes the class by the footprint's area.
__device__ __forceinline__ void remap(Shared& m, const Settings& s, Box& box) {
    if (s.columns == 0 || s.own_column[box.label] < 0) return;
    double area = mul(static_cast<double>(box.length), static_cast<double>(box.width));
    for (u32 column = 0; column < s.columns; ++column) {
        const RemapEntry& entry = s.remap[box.label][column];
        if (!entry.allowed || !(area >= entry.least) || !(area <= entry.most)) continue;
        if (static_cast<i32>(column) == s.own_column[box.label]) return;
        atomicAdd(&m.counts[entry.target < 0 ? INEXPRESSIBLE : REMAPPED], 1u);
        if (entry.target >= 0) box.label = static_cast<u32>(entry.target);
        return;
    }
}

__device__ __forceinline__ void write(u32* to, const Box& box) {
    float values[10] = {box.x, box.y, box.z, box.length, box.width, box.height, box.yaw, box.vx, box.vy, box.score};
#pragma unroll
    for (u32 i = 0; i < 10; ++i) to[i] = __float_as_uint(values[i]);
    to[10] = box.label;
}

}  // namespace bev

using namespace bev;

extern __shared__ float4 postprocess_memory[];

extern "C" __global__ void __launch_bounds__(MOST) postprocess(PARAMS PostprocessParams p) {
    begin_in_order();
    Shared& m = *reinterpret_cast<Shared*>(postprocess_memory);
    const Settings& s = *p.settings;
    u32 own = threadIdx.x;
    if (own < COUNTS) m.counts[own] = own == SEEN ? p.proposals : 0;
    m.order[own] = static_cast<u16>(own);
    __syncthreads();
    Box box = {};
    bool stays = false;
    if (own < p.proposals) {
        Count verdict = judge(p, s, own, box);
        stays = verdict == KEPT;
        if (!stays) atomicAdd(&m.counts[verdict], 1u);
    }
    if (stays) {
        float sine, cosine;
        sincosf(box.yaw, &sine, &cosine);
        m.shape[own] = make_float4(box.length, box.width, sine, cosine);
        m.where[own] = make_float4(box.x, box.y, box.yaw, box.score);
        m.label[own] = box.label;
    }
    compact(m, m.order, stays);
    u32 found = m.left;
    suppress(p, m, s);
    m.slot[own] = 0xffffu;
    __syncthreads();
    u32 left = m.left;
    if (own < left) m.slot[m.list[own]] = static_cast<u16>(own);
    __syncthreads();
    u32 place = m.slot[own];
    if (place != 0xffffu) {
        remap(m, s, box);
        write(p.output + COUNTS + place * RECORD, box);
    }
    for (u32 i = left * RECORD + own; i < p.proposals * RECORD; i += MOST) p.output[COUNTS + i] = 0;
    if (own == 0) {
        m.counts[SUPPRESSED] = found - left;
        m.counts[KEPT] = left;
    }
    __syncthreads();
    if (own < COUNTS) p.output[own] = m.counts[own];
}
