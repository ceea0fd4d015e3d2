// y = r(x f(gate) + shortcut), where r is ReLU or nothing; an image has a gate a channel, or a gate a row. Without a shortcut its
// binding holds x, unread; and so does that of the gates of the other kind.
// A workgroup takes a block of rows (y) of an image (z) and a strip of channels (x); its lanes keep their channel and walk down
// the rows.
// needs map_relu | map_sigmoid | map_gelu
// needs strip
// constants BY_ROW=0 RELU=1 SHORTCUT=1

struct Params { rows: u32, columns: u32, rows_each: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<elems>;
@group(0) @binding(2) var<storage, read> channel_gate: array<elems>; // [images, columns]
@group(0) @binding(3) var<storage, read> row_gate: array<elem>; // [images, rows]
@group(0) @binding(4) var<storage, read> shortcut: array<elems>;
@group(0) @binding(5) var<storage, read_write> y: array<elems>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * STRIP + lane % STRIP;
    if column >= params.columns {
        return;
    }
    let first_row = group.z * params.rows;
    var factor = floats();
    if BY_ROW == 0u {
        factor = f(floats(channel_gate[group.z * params.columns + column]));
    }
    let start = group.y * params.rows_each;
    let end = min(start + params.rows_each, params.rows);
    for (var row = start + lane / STRIP; row < end; row += ROWS_AT_ONCE) {
        var xs: array<elems, AT_ONCE>;
        var shortcuts: array<elems, AT_ONCE>; // zeros, where there is none
        var factors: array<floats, AT_ONCE>;
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            let at = first_row + min(row + i * ROW_LANES, end - 1u);
            xs[i] = x[at * params.columns + column];
            if SHORTCUT == 1u {
                shortcuts[i] = shortcut[at * params.columns + column];
            }
            factors[i] = factor;
            if BY_ROW == 1u {
                factors[i] = floats(f32(row_gate[at]));
            }
        }
        for (var i = 0u; i < AT_ONCE; i++) { // unroll
            if row + i * ROW_LANES < end {
                if BY_ROW == 1u {
                    factors[i] = f(factors[i]);
                }
                let z = floats(xs[i]) * factors[i] + floats(shortcuts[i]);
                y[(first_row + row + i * ROW_LANES) * params.columns + column] =
                    elems(select(z, max(z, floats()), RELU == 1u));
            }
        }
    }
}
