// y = what stands there before a run: poison in every byte of the tensor, `edge` in the word that it shares with its guard (or the
// guard's first), `guard` in the words behind, up to `end`. One lane a word.
// needs index
// constants WORKGROUP=256

struct Params { words: u32, edge: u32, guard: u32, end: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = folded(group, groups) * WORKGROUP + lane;
    if at >= params.end {
        return;
    }
    if at < params.words {
        y[at] = 0xffffffffu;
    } else if at == params.words {
        y[at] = params.edge;
    } else {
        y[at] = params.guard;
    }
}
