// drel_height, and behind it drel_width, = sum of part[n, head] over images and heads.
// A workgroup takes a strip of columns; its lanes walk down the parts.
// needs strip_sum

struct Params { parts: u32, height_columns: u32, columns: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> part: array<floats>; // [parts, columns]
@group(0) @binding(2) var<storage, read_write> drel_height: array<elems>; // [height_columns]
@group(0) @binding(3) var<storage, read_write> drel_width: array<elems>; // [columns - height_columns]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    var sum = floats();
    if column < params.columns {
        for (var row = lane / STRIP; row < params.parts; row += ROW_LANES) {
            sum += part[row * params.columns + column];
        }
    }
    sum = strip_sum(sum, lane);
    if lane < STRIP {
        if column < params.height_columns {
            drel_height[column] = elems(sum);
        } else if column < params.columns {
            drel_width[column - params.height_columns] = elems(sum);
        }
    }
}
