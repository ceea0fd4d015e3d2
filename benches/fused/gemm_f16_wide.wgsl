// product[M,N] = lhs[M,K] rhs[K,N] in f16, sums in f32, row-major.
// Loads are of 8 numbers, as 16 bytes of u32. FETCH says when: 0 before the barrier that frees the tile, 1 between the
// barriers, straight into the tile, 2 a tile ahead, while this one is multiplied.
enable f16;
enable wgpu_cooperative_matrix;
const M: u32 = 4096u;
const N: u32 = 4096u;
const K: u32 = 4096u;
const TILE_M: u32 = 128u;
const TILE_N: u32 = 128u;
const TILE_K: u32 = 32u;
const FRAGMENTS_M: u32 = 4u;
const FRAGMENTS_N: u32 = 4u;
const FRAGMENT: u32 = 16u;
const SUBGROUP: u32 = 32u;
const GROUP: u32 = 8u;
const FETCH: u32 = 0u;
// With two tiles of each factor one barrier a tile is enough: the next is filled while others still read this one.
const BUFFERS: u32 = 1u;

// A subgroup computes FRAGMENTS_M x FRAGMENTS_N fragments.
const SPAN_M: u32 = FRAGMENT * FRAGMENTS_M;
const SPAN_N: u32 = FRAGMENT * FRAGMENTS_N;
const SUBGROUPS_N: u32 = TILE_N / SPAN_N;
const SUBGROUPS: u32 = TILE_M / SPAN_M * SUBGROUPS_N;
const LANES: u32 = SUBGROUPS * SUBGROUP;
const STRIP: u32 = 8u;
const STRIPS_K: u32 = TILE_K / STRIP;
const STRIPS_N: u32 = TILE_N / STRIP;
const ROWS_A: u32 = LANES / STRIPS_K;
const ROWS_B: u32 = LANES / STRIPS_N;
const LOADS_A: u32 = TILE_M / ROWS_A;
const LOADS_B: u32 = TILE_K / ROWS_B;
// Rows of shared memory, in strips, padded by 8 numbers: unpadded ones halve the speed.
const ROW_A: u32 = STRIPS_K + 8u / STRIP;
const ROW_B: u32 = STRIPS_N + 8u / STRIP;
// One fragment a subgroup at a time leaves through shared memory, which two tiles nearly fill.
const ROW_OUT: u32 = FRAGMENT + 4u;
const OUT_STRIPS: u32 = FRAGMENT / 4u;
const OUT_ROWS: u32 = SUBGROUP / OUT_STRIPS;
const OUT_TURNS: u32 = FRAGMENT / OUT_ROWS;
const_assert TILE_M % ROWS_A == 0u && TILE_K % ROWS_B == 0u && OUT_ROWS > 0u && FRAGMENT % OUT_ROWS == 0u;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
struct Strip { lo: vec4<f16>, hi: vec4<f16> }

// naga has no bitcast from u32 to vec2<f16>; to f32 and back changes no bit of a number, and a compiler may see that.
fn strip_of(words: vec4<u32>) -> Strip {
    return Strip(
        vec4(vec2<f16>(unpack2x16float(words.x)), vec2<f16>(unpack2x16float(words.y))),
        vec4(vec2<f16>(unpack2x16float(words.z)), vec2<f16>(unpack2x16float(words.w))),
    );
}

@group(0) @binding(1) var<storage, read> lhs: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4<f16>>;

var<workgroup> tile_a: array<Strip, BUFFERS * TILE_M * ROW_A>;
var<workgroup> tile_b: array<Strip, BUFFERS * TILE_K * ROW_B>;
// Sums on their way out: a fragment for each subgroup.
var<workgroup> sums_out: array<f32, SUBGROUPS * FRAGMENT * ROW_OUT>;

// Which tile this workgroup computes: GROUP rows of tiles share the columns of B that the L2 cache then holds.
fn place(group: u32) -> vec2<u32> {
    let tiles_m = M / TILE_M;
    let band = group / (GROUP * (N / TILE_N));
    let within = group % (GROUP * (N / TILE_N));
    let rows = min(GROUP, tiles_m - band * GROUP);
    return vec2(band * GROUP + within % rows, within / rows);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = place(group.x);
    let subgroup = lane / SUBGROUP;
    let span_m = subgroup / SUBGROUPS_N * SPAN_M;
    let span_n = subgroup % SUBGROUPS_N * SPAN_N;

    let row_a = lane / STRIPS_K;
    let strip_k = lane % STRIPS_K;
    let row_b = lane / STRIPS_N;
    let strip_n = lane % STRIPS_N;
    let store_a = row_a * ROW_A + strip_k;
    let store_b = row_b * ROW_B + strip_n;
    let read_a = span_m * ROW_A;
    let read_b = span_n / STRIP;
    // coopLoadT counts rows in units of vec4.
    let stride_a = ROW_A * (STRIP / 4u);
    let stride_b = ROW_B * (STRIP / 4u);
    var at_a = (tile.x * TILE_M + row_a) * (K / STRIP) + strip_k;
    var at_b = row_b * (N / STRIP) + tile.y * STRIPS_N + strip_n;

    var sums: array<Sum, FRAGMENTS_M * FRAGMENTS_N>;
    var left: array<Left, FRAGMENTS_M>;
    var next_a: array<vec4<u32>, LOADS_A>;
    var next_b: array<vec4<u32>, LOADS_B>;
    if FETCH == 2u {
        for (var i = 0u; i < LOADS_A; i++) { // unroll
            next_a[i] = lhs[at_a + i * ROWS_A * (K / STRIP)];
        }
        for (var i = 0u; i < LOADS_B; i++) { // unroll
            next_b[i] = rhs[at_b + i * ROWS_B * (N / STRIP)];
        }
    }
    var now = 0u;
    for (var depth = 0u; depth < K; depth += TILE_K) {
        if FETCH == 0u {
            for (var i = 0u; i < LOADS_A; i++) { // unroll
                next_a[i] = lhs[at_a + i * ROWS_A * (K / STRIP)];
            }
            for (var i = 0u; i < LOADS_B; i++) { // unroll
                next_b[i] = rhs[at_b + i * ROWS_B * (N / STRIP)];
            }
        }
        if BUFFERS == 1u {
            workgroupBarrier();
        }
        if FETCH == 1u {
            for (var i = 0u; i < LOADS_A; i++) { // unroll
                next_a[i] = lhs[at_a + i * ROWS_A * (K / STRIP)];
            }
            for (var i = 0u; i < LOADS_B; i++) { // unroll
                next_b[i] = rhs[at_b + i * ROWS_B * (N / STRIP)];
            }
        }
        for (var i = 0u; i < LOADS_A; i++) { // unroll
            tile_a[now * (TILE_M * ROW_A) + store_a + i * ROWS_A * ROW_A] = strip_of(next_a[i]);
        }
        for (var i = 0u; i < LOADS_B; i++) { // unroll
            tile_b[now * (TILE_K * ROW_B) + store_b + i * ROWS_B * ROW_B] = strip_of(next_b[i]);
        }
        workgroupBarrier();
        at_a += STRIPS_K;
        at_b += TILE_K * (N / STRIP);
        if FETCH == 2u && depth + TILE_K < K {
            for (var i = 0u; i < LOADS_A; i++) { // unroll
                next_a[i] = lhs[at_a + i * ROWS_A * (K / STRIP)];
            }
            for (var i = 0u; i < LOADS_B; i++) { // unroll
                next_b[i] = rhs[at_b + i * ROWS_B * (N / STRIP)];
            }
        }
        let base_a = now * (TILE_M * ROW_A) + read_a;
        let base_b = now * (TILE_K * ROW_B) + read_b;
        for (var k = 0u; k < TILE_K / FRAGMENT; k++) { // unroll
            for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
                left[i] = coopLoadT<Left>(&tile_a[base_a + i * FRAGMENT * ROW_A + k * (FRAGMENT / STRIP)].lo, stride_a);
            }
            for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
                let right = coopLoadT<Right>(&tile_b[base_b + k * FRAGMENT * ROW_B + j * (FRAGMENT / STRIP)].lo, stride_b);
                for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
                    sums[i * FRAGMENTS_N + j] = coopMultiplyAdd(left[i], right, sums[i * FRAGMENTS_N + j]);
                }
            }
        }
        now = (now + 1u) % BUFFERS;
    }

    let out_row = lane % SUBGROUP / OUT_STRIPS;
    let out_strip = lane % SUBGROUP % OUT_STRIPS;
    let stage = subgroup * FRAGMENT * ROW_OUT;
    let from_stage = stage + out_row * ROW_OUT + out_strip * 4u;
    let into = (tile.x * TILE_M + span_m + out_row) * (N / 4u) + (tile.y * TILE_N + span_n) / 4u + out_strip;
    let row_out = ROW_OUT;
    for (var i = 0u; i < FRAGMENTS_M; i++) { // unroll
        for (var j = 0u; j < FRAGMENTS_N; j++) { // unroll
            // naga's SPIR-V writer wants every argument of a cooperative store named beforehand.
            let sum = sums[i * FRAGMENTS_N + j];
            let at = stage;
            coopStoreT(sum, &sums_out[at], row_out);
            workgroupBarrier();
            for (var turn = 0u; turn < OUT_TURNS; turn++) { // unroll
                let place = from_stage + turn * OUT_ROWS * ROW_OUT;
                let strip = vec4(sums_out[place], sums_out[place + 1u], sums_out[place + 2u], sums_out[place + 3u]);
                let row = i * FRAGMENT + turn * OUT_ROWS;
                product[into + row * (N / 4u) + j * (FRAGMENT / 4u)] = vec4<f16>(strip);
            }
            workgroupBarrier();
        }
    }
}
