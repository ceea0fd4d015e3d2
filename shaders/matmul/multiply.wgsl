// y = a b, batched, either side stored transposed: A_ALONG_K = 0 is a[k, row], B_ALONG_K = 1 is b[col, k].
// One workgroup a tile of one batch.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs gemm

struct Params { rows: u32, cols: u32, depth: u32, batch_a: u32, batch_b: u32 } // batch_a, batch_b: elements to the next
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<pack>;
@group(0) @binding(2) var<storage, read> b: array<pack>;
@group(0) @binding(3) var<storage, read_write> y: array<pack>;

struct OuterA { row: u32, at: u32 }
struct OuterB { col: u32, at: u32 }

fn extent() -> vec3<u32> {
    return vec3(params.rows, params.cols, params.depth);
}
fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, params.depth);
}

fn outer_a(row: u32, slice: u32) -> OuterA {
    return OuterA(row, slice * params.batch_a + row * select(1u, params.depth, A_ALONG_K == 1u));
}
fn load_a(outer: OuterA, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        if A_ALONG_K == 1u {
            if outer.row < params.rows && k + i * PACK < params.depth {
                strip = with_pack(strip, i, a[(outer.at + k) / PACK + i]);
            }
        } else if outer.row + i * PACK < params.rows && k < params.depth {
            strip = with_pack(strip, i, a[(outer.at + k * params.rows) / PACK + i]);
        }
    }
    return strip;
}

fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(col, slice * params.batch_b + col * select(1u, params.depth, B_ALONG_K == 1u));
}
fn load_b(outer: OuterB, k: u32) -> elem4 {
    var strip = elem4();
    for (var i = 0u; i < PACKS; i++) { // unroll
        if B_ALONG_K == 1u {
            if outer.col < params.cols && k + i * PACK < params.depth {
                strip = with_pack(strip, i, b[(outer.at + k) / PACK + i]);
            }
        } else if outer.col + i * PACK < params.cols && k < params.depth {
            strip = with_pack(strip, i, b[(outer.at + k * params.cols) / PACK + i]);
        }
    }
    return strip;
}

fn store(row: u32, col: u32, slice: u32, sums: vec4<f32>) {
    let at = (slice * params.rows + row) * params.cols + col;
    for (var i = 0u; i < PACKS; i++) { // unroll
        if col + i * PACK < params.cols {
            y[at / PACK + i] = pack_of(sums, i);
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    gemm(group, groups, lane);
}
