// counts[label, k] += 1 for every row, k the class of its largest logit.
// Workgroups take rows by turns, ROW_LANES lanes a row. LOCAL = 1: they count in memory of their own first; whole numbers may be added
// in any order. Labels that are no class, or to be ignored, count nowhere.
// needs elem_f32 | elem_f16
// needs largest
// constants LOCAL=1 CELLS=1 IGNORES=0

struct Params { rows: u32, columns: u32, classes: u32, ignored: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<elems>; // [rows, columns]
@group(0) @binding(2) var<storage, read> labels: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>; // [classes, classes]: of a label a row

var<workgroup> cells: array<atomic<u32>, CELLS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    if LOCAL == 1u {
        for (var i = lane; i < CELLS; i += WORKGROUP) {
            atomicStore(&cells[i], 0u);
        }
        workgroupBarrier();
    }
    let stride = groups.x * groups.y * ROWS_AT_ONCE;
    for (var turn = folded(group, groups) * ROWS_AT_ONCE; turn < params.rows; turn += stride) {
        let own = turn + lane / ROW_LANES;
        let row = min(own, params.rows - 1u);
        let found = class_of_row(row, lane);
        let label = labels[row];
        let counted = own < params.rows && label < params.classes && !(IGNORES == 1u && label == params.ignored);
        if lane % ROW_LANES == 0u && counted {
            let cell = label * params.classes + found;
            if LOCAL == 1u {
                atomicAdd(&cells[cell], 1u);
            } else {
                atomicAdd(&counts[cell], 1u);
            }
        }
    }
    if LOCAL == 1u {
        workgroupBarrier();
        for (var i = lane; i < CELLS; i += WORKGROUP) {
            let count = atomicLoad(&cells[i]);
            if count > 0u {
                atomicAdd(&counts[i], count);
            }
        }
    }
}
