// label = the first l whose product x centroid_l is largest: of unit vectors, the nearest.
// A workgroup takes TILE_P pixels of an image, against TILE_L centroids at a time; a lane sums EACH x EACH products, SHARERS lanes
// share its pixels. Products stay in f32 and in registers.
// needs width_1 | width_4
// needs index
// constants WORKGROUP=64 SHARERS=4

struct Params { images: u32, pixels: u32, clusters: u32, columns: u32, tiles: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>; // [images, pixels, columns]
@group(0) @binding(2) var<storage, read> centroids: array<elems>; // [images, clusters, columns]
@group(0) @binding(3) var<storage, read_write> label: array<u32>; // [images, pixels]

const EACH: u32 = 4u;
const DEPTH: u32 = 4u; // strips of a row at a time
const PIXEL_LANES: u32 = WORKGROUP / SHARERS;
const TILE_P: u32 = PIXEL_LANES * EACH;
const TILE_L: u32 = SHARERS * EACH;
const LOADS: u32 = TILE_P * DEPTH / WORKGROUP; // of pixels; of centroids it is one at most
// One strip of padding, or neighbors that write strips of one row would meet in a memory bank.
const WIDTH_P: u32 = TILE_P + 1u;
const WIDTH_L: u32 = TILE_L + 1u;
var<workgroup> tile_x: array<floats, DEPTH * WIDTH_P>;
var<workgroup> tile_c: array<floats, DEPTH * WIDTH_L>;
var<workgroup> scores: array<f32, WORKGROUP * EACH>; // [SHARERS][TILE_P]
var<workgroup> labels: array<u32, WORKGROUP * EACH>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    let image = number / params.tiles;
    if image >= params.images {
        return;
    }
    let first = number % params.tiles * TILE_P;
    let strip = lane % DEPTH;
    let pixel_lane = lane % PIXEL_LANES;
    let share = lane / PIXEL_LANES;

    var best: array<f32, EACH>;
    var nearest: array<u32, EACH>;
    for (var i = 0u; i < EACH; i++) { // unroll
        best[i] = -3.4028234e38;
    }
    for (var l0 = 0u; l0 < params.clusters; l0 += TILE_L) {
        var sums: array<floats, EACH * EACH>;
        for (var k = 0u; k < params.columns; k += DEPTH) {
            var loaded: array<elems, LOADS>;
            for (var i = 0u; i < LOADS; i++) { // unroll
                let pixel = first + i * (WORKGROUP / DEPTH) + lane / DEPTH;
                let inside = (pixel < params.pixels) & (k + strip < params.columns);
                let at = (image * params.pixels + pixel) * params.columns + k + strip;
                loaded[i] = select(elems(), x[select(0u, at, inside)], inside);
            }
            let l = l0 + lane / DEPTH;
            let inside = (l < params.clusters) & (k + strip < params.columns);
            let at = (image * params.clusters + l) * params.columns + k + strip;
            let centroid = select(elems(), centroids[select(0u, at, inside)], inside);
            workgroupBarrier(); // the tiles before may still be read
            for (var i = 0u; i < LOADS; i++) { // unroll
                tile_x[strip * WIDTH_P + i * (WORKGROUP / DEPTH) + lane / DEPTH] = floats(loaded[i]);
            }
            if lane < TILE_L * DEPTH {
                tile_c[strip * WIDTH_L + lane / DEPTH] = floats(centroid);
            }
            workgroupBarrier();
            for (var s = 0u; s < DEPTH; s++) { // unroll
                var a: array<floats, EACH>;
                var b: array<floats, EACH>;
                for (var i = 0u; i < EACH; i++) { // unroll
                    a[i] = tile_x[s * WIDTH_P + i * PIXEL_LANES + pixel_lane];
                    b[i] = tile_c[s * WIDTH_L + i * SHARERS + share];
                }
                for (var i = 0u; i < EACH; i++) { // unroll
                    for (var j = 0u; j < EACH; j++) { // unroll
                        sums[i * EACH + j] += a[i] * b[j];
                    }
                }
            }
        }
        // A lane's centroids come in their order, so that the first of equal ones stays.
        for (var i = 0u; i < EACH; i++) { // unroll
            for (var j = 0u; j < EACH; j++) { // unroll
                let l = l0 + j * SHARERS + share;
                let score = total(sums[i * EACH + j]);
                if l < params.clusters && score > best[i] {
                    best[i] = score;
                    nearest[i] = l;
                }
            }
        }
    }
    for (var i = 0u; i < EACH; i++) { // unroll
        scores[share * TILE_P + i * PIXEL_LANES + pixel_lane] = best[i];
        labels[share * TILE_P + i * PIXEL_LANES + pixel_lane] = nearest[i];
    }
    workgroupBarrier();
    for (var pixel = lane; pixel < min(TILE_P, params.pixels - first); pixel += WORKGROUP) {
        var score = scores[pixel];
        var found = labels[pixel];
        for (var other = 1u; other < SHARERS; other++) {
            let next_score = scores[other * TILE_P + pixel];
            let next = labels[other * TILE_P + pixel];
            if next_score > score || (next_score == score && next < found) {
                score = next_score;
                found = next;
            }
        }
        label[image * params.pixels + first + pixel] = found;
    }
}
