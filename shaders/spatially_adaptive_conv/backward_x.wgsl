// dx[p, n] = sum over taps t of attention[p - t, (t, n)] (dy[p - t] · turned[.., (t, n)]).
// One workgroup a tile of pixels x channels of x. Tap by tap, both are products of their own, whose sums the lanes multiply and add up.
// needs elem_f32 | elem_f16
// needs untallied
// needs adaptive_back
// needs shares

struct Params { batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dy: array<factor>;
@group(0) @binding(2) var<storage, read> raw: array<raw_pack>;
@group(0) @binding(3) var<storage, read> attention_weight: array<factor>;
@group(0) @binding(4) var<storage, read> attention_bias: array<sum_pack>;
@group(0) @binding(5) var<storage, read> turned: array<factor>; // [OUT, COLUMNS]
@group(0) @binding(6) var<storage, read_write> dx: array<pack>;

// The tap that is worked on.
var<private> tap: u32;

struct OuterA { pixel: Pixel, slice: u32 }
struct OuterB { col: u32, slice: u32 }

fn depth_of(slice: u32) -> vec2<u32> {
    return vec2(0u, select(OUT, DEPTH, slice == ATTENTION));
}

// The pixel that sees this row's through the tap; outside of the image there is none.
fn outer_a(row: u32, slice: u32) -> OuterA {
    let own = pixel_of(row);
    let y = own.y - i32(tap / KERNEL) + REACH;
    let x = own.x - i32(tap % KERNEL) + REACH;
    return OuterA(Pixel(own.image, select(OUTSIDE, y, is_inside(y, x)), x), slice);
}
fn load_a(outer: OuterA, k0: u32, k: u32) -> strip {
    if outer.slice == ATTENTION {
        return patch_strip(outer.pixel, k);
    }
    return dy_strip(outer.pixel, k);
}
fn outer_b(col: u32, slice: u32) -> OuterB {
    return OuterB(tap * CHANNELS + col, slice);
}
fn load_b(outer: OuterB, k0: u32, k: u32) -> strip {
    let end = (tap + 1u) * CHANNELS;
    if outer.slice == ATTENTION {
        return attention_strip(outer.col, end, k);
    }
    return turned_strip(outer.col, end, k);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row0 = group.y * TILE_M;
    let col0 = group.x * TILE_N;
    var sums: Shares;
    for (var at_tap = 0u; at_tap < TAPS; at_tap++) {
        tap = at_tap;
        var attention: Sums;
        product(&attention, lane, row0, col0, ATTENTION); // inline
        var weights: Shares;
        share_out(&attention, &weights, lane); // inline
        var back: Sums;
        product(&back, lane, row0, col0, BACK); // inline
        var slopes: Shares;
        share_out(&back, &slopes, lane); // inline
        let end = (at_tap + 1u) * CHANNELS;
        for (var i = 0u; i < SHARES; i++) { // unroll
            let column = at_tap * CHANNELS + col0 + share_place(lane, i).y;
            sums[i] += f(with_bias(weights[i], column, end)) * slopes[i];
        }
    }
    for (var i = 0u; i < SHARES; i++) { // unroll
        let at = vec2(row0, col0) + share_place(lane, i);
        for (var j = 0u; j < PACKS; j++) { // unroll
            if has_shares(lane) & (at.x < pixels()) & (at.y + j * PACK < CHANNELS) {
                dx[(at.x * CHANNELS + at.y) / PACK + j] = pack_of(sums[i], j);
            }
        }
    }
}
