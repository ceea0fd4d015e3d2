// y = x and x^T: rows of a few tokens for `gradients_by_rows`, BLOCK of them, zeros where there are fewer.
// One lane an element.
// needs elem_f32 | elem_f16
// needs index
// not with elem_f32
// constants WORKGROUP=256

struct Params { batch: u32, tokens: u32, heads: u32, channels: u32, first: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elem>; // [batch, tokens, heads, channels]
@group(0) @binding(2) var<storage, read_write> y: array<elem>; // from `first` on [batch, heads, BLOCK, channels], then [batch, heads, channels, BLOCK]

const BLOCK: u32 = 16u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    let count = params.batch * params.heads * BLOCK * params.channels;
    if at >= count {
        return;
    }
    let c = at % params.channels;
    let token = at / params.channels % BLOCK;
    let pair = at / (params.channels * BLOCK); // image, head
    let row = (pair / params.heads * params.tokens + min(token, params.tokens - 1u)) * params.heads + pair % params.heads;
    let value = select(elem(), x[row * params.channels + c], token < params.tokens);
    y[params.first + at] = value;
    y[params.first + count + (pair * params.channels + c) * BLOCK + token] = value;
}
