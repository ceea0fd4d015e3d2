// y = x and x^T: rows of a few tokens for `gradients_by_rows`, BLOCK of them, zeros where there are fewer.
// One lane four channels of an image and head.
// needs elem_f32 | elem_f16
// needs index
// not with elem_f32
// constants WORKGROUP=256

struct Params { batch: u32, tokens: u32, heads: u32, channels: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem4>; // [batch, tokens, heads, channels]
@group(0) @binding(2) var<storage, read_write> y: array<elem4>; // from `first` on [batch, heads, BLOCK, channels], then [batch, heads, channels, BLOCK]

const BLOCK: u32 = 16u;
const LINE: u32 = BLOCK / 4u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    let fours = params.channels / 4u;
    let pairs = params.batch * params.heads;
    if at >= pairs * fours {
        return;
    }
    let pair = at / fours; // image, head
    let four = at % fours;
    var columns: array<elem4, BLOCK>; // of a channel LINE, of four tokens each
    for (var token = 0u; token < BLOCK; token++) { // unroll
        let row = (pair / params.heads * params.tokens + min(token, params.tokens - 1u)) * params.heads + pair % params.heads;
        let value = select(elem4(), x[row * fours + four], token < params.tokens);
        y[params.first / 4u + (pair * BLOCK + token) * fours + four] = value;
        for (var c = 0u; c < 4u; c++) { // unroll
            columns[c * LINE + token / 4u][token % 4u] = value[c];
        }
    }
    let before = params.first / 4u + pairs * BLOCK * fours + at * BLOCK;
    for (var i = 0u; i < BLOCK; i++) { // unroll
        y[before + i] = columns[i];
    }
}
