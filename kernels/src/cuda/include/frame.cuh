// What the kernels of a frame's points share: the header that the host writes, the counts that go back to
// it, and how occupancy is kept. Mirrored in `frame.rs`, field by field.
//
// Occupancy of a level: one 64-bit word per (x, y) column, y fastest, bit z set where there is a site. A
// site is column * 64 + z, so that ascending sites are ascending (x, y, z).
// Comes after `common.cuh`.
#pragma once

namespace bev {

constexpr u32 MAX_CLOUDS = 16;
constexpr u32 MAX_COLUMNS = 8;
constexpr u32 MAX_LEVELS = 8;
// A point that the sweep filter dropped, and one that stayed but lies in no cell.
constexpr u32 NO_POINT = 0xffffffffu;
constexpr u32 NO_CELL = 0xfffffffeu;

struct CloudHeader {
    const u8* address;
    u32 points;
    u32 stride;
    u32 xyz[3];  // byte offset | type << 16
    u32 has_transform;
    u32 column[MAX_COLUMNS];
    float key_from_sweep[12];
    float time_lag;
    float remove_close;
    u32 spare[2];
};

struct FrameHeader {
    u32 clouds;
    u32 active_cameras;  // one bit each
    u32 view_tables;     // table set of the view transform, 0 or 1
    u32 spare;
    CloudHeader cloud[MAX_CLOUDS];
};

// The header on the device, and where each cloud starts.
struct FramePlan {
    FrameHeader header;
    u32 first_point[MAX_CLOUDS + 1];
    u32 first_block[MAX_CLOUDS + 1];
    u32 spare[2];
};

struct FrameCounts {
    u32 input;
    u32 points;
    u32 clipped;
    u32 close;
    u32 non_finite;
    u32 out_of_range;
    u32 outside;
    u32 dropped_cells;
    u32 no_voxel;
    u32 kept_points;
    u32 spare[2];
    u32 sites[MAX_LEVELS];
    u32 rows[MAX_LEVELS];
    u32 more_spare[4];
};

__device__ __forceinline__ u64 bits_below(u32 bit) { return (1ull << bit) - 1; }

}  // namespace bev
