// part[n, head] = scale sum over i of q_i times the sum of dS_ij over the keys j that are so many rows below, or columns to the right:
// what one head of one image adds to drel_height and, behind it, drel_width.
// A lane an offset of an (image, head); queries go by in tiles of TILE, with the slopes that `backward_queries` left.
// needs relative_place
// constants WORKGROUP=64 TILE=4

struct Params { first_image: u32, images: u32, scale: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<factor>; // [batch, PIXELS, CHANNELS]
@group(0) @binding(2) var<storage, read> positions: array<f32>; // [images, HEADS][logits, slopes][WIDTH + HEIGHT][PIXELS]
@group(0) @binding(3) var<storage, read_write> part: array<f32>; // [batch, HEADS][OFFSETS][DEPTH]

const DOWN_OFFSETS: u32 = 2u * HEIGHT - 1u;
const OFFSETS: u32 = DOWN_OFFSETS + 2u * WIDTH - 1u;
const BLOCKS: u32 = (OFFSETS + WORKGROUP - 1u) / WORKGROUP;
const LINES: u32 = WIDTH + HEIGHT;
const LINE: u32 = TILE + 1u; // odd: neighboring lanes read neighboring lines

var<workgroup> asked: array<vec4<f32>, TILE * DEPTH_STRIPS>; // q
var<workgroup> slopes: array<f32, LINES * LINE>; // [column or row of keys][query]
var<private> sums: array<vec4<f32>, DEPTH_STRIPS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let number = folded(group, groups);
    if number >= BLOCKS * HEADS * params.images {
        return;
    }
    let offset = number % BLOCKS * WORKGROUP + lane;
    let head = number / BLOCKS % HEADS;
    let local_image = number / (BLOCKS * HEADS);
    let image = params.first_image + local_image;
    let is_down = offset < DOWN_OFFSETS;

    for (var first = 0u; first < PIXELS; first += TILE) {
        workgroupBarrier(); // every lane is done with the last tile
        let count = min(TILE, PIXELS - first);
        for (var i = lane; i < count * DEPTH_STRIPS; i += WORKGROUP) {
            asked[i] = query_strip(image * PIXELS + first + i / DEPTH_STRIPS, head, i % DEPTH_STRIPS);
        }
        for (var i = lane; i < LINES * TILE; i += WORKGROUP) {
            let query = min(first + i % TILE, PIXELS - 1u);
            let line = ((local_image * HEADS + head) * 2u + 1u) * LINES + i / TILE;
            slopes[i / TILE * LINE + i % TILE] = positions[line * PIXELS + query];
        }
        workgroupBarrier();
        for (var i = 0u; i < count; i++) {
            let query = first + i;
            // The row or column of keys at this offset from the query; past the last where there is none, as below the first.
            let row = offset + query / WIDTH - (HEIGHT - 1u);
            let column = offset - DOWN_OFFSETS + query % WIDTH - (WIDTH - 1u);
            let line = select(column, WIDTH + row, is_down);
            let exists = select(column < WIDTH, row < HEIGHT, is_down);
            let slope = select(0.0, slopes[min(line, LINES - 1u) * LINE + i], exists);
            for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
                sums[s] += slope * asked[i * DEPTH_STRIPS + s];
            }
        }
    }
    if offset < OFFSETS {
        for (var s = 0u; s < DEPTH_STRIPS; s++) { // unroll
            for (var e = 0u; e < 4u; e++) { // unroll
                if 4u * s + e < DEPTH {
                    part[((image * HEADS + head) * OFFSETS + offset) * DEPTH + 4u * s + e] = params.scale * sums[s][e];
                }
            }
        }
    }
}
