// product[M,N] = lhs[M,K] rhs[K,N] in f16, sums in f32, row-major. Fragments straight from global memory: no barrier.
enable f16;
enable wgpu_cooperative_matrix;
const M: u32 = 4096u;
const N: u32 = 4096u;
const K: u32 = 4096u;
const TILE_M: u32 = 128u;
const TILE_N: u32 = 128u;
const SUBGROUP: u32 = 32u;
const LANES: u32 = 128u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sum = coop_mat16x16<f32, C>;
@group(0) @binding(1) var<storage, read> lhs: array<vec4<f16>>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4<f16>>;
@group(0) @binding(3) var<storage, read_write> product: array<vec4<f16>>;
var<workgroup> sums_out: array<f32, 4 * 16 * 68>;
@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles_n = N / TILE_N;
    let band = group.x / (8u * tiles_n);
    let within = group.x % (8u * tiles_n);
    let rows = min(8u, M / TILE_M - band * 8u);
    let subgroup = lane / SUBGROUP;
    let row = (band * 8u + within % rows) * TILE_M + subgroup / 2u * 64u;
    let col = within / rows * TILE_N + subgroup % 2u * 64u;
    let stride_a = K / 4u;
    let stride_b = N / 4u;
    var sums: array<Sum, 16>;
    var left: array<Left, 4>;
    for (var k = 0u; k < K; k += 16u) {
        for (var i = 0u; i < 4u; i++) { // unroll
            left[i] = coopLoadT<Left>(&lhs[(row + i * 16u) * (K / 4u) + k / 4u], stride_a);
        }
        for (var j = 0u; j < 4u; j++) { // unroll
            let right = coopLoadT<Right>(&rhs[k * (N / 4u) + (col + j * 16u) / 4u], stride_b);
            for (var i = 0u; i < 4u; i++) { // unroll
                sums[i * 4u + j] = coopMultiplyAdd(left[i], right, sums[i * 4u + j]);
            }
        }
    }
    let stage = subgroup * 16u * 68u;
    let row_out = 68u;
    for (var i = 0u; i < 4u; i++) { // unroll
        for (var j = 0u; j < 4u; j++) { // unroll
            let sum = sums[i * 4u + j];
            let at = stage + j * 16u;
            coopStoreT(sum, &sums_out[at], row_out);
        }
        workgroupBarrier();
        for (var turn = 0u; turn < 8u; turn++) { // unroll
            let y = turn * 2u + lane % 32u / 16u;
            let x = lane % 16u;
            let at = stage + y * 68u + x * 4u;
            let strip = vec4(sums_out[at], sums_out[at + 1u], sums_out[at + 2u], sums_out[at + 3u]);
            product[(row + i * 16u + y) * (N / 4u) + col / 4u + x] = vec4<f16>(strip);
        }
        workgroupBarrier();
    }
}
