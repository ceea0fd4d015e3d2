// What `batch_norm/backward_x` needs of a channel: mean, scale = gain inv_std, and of its group, with sums over the channels,
// shift = inv_std sum gain dbias / elements, tilt = inv_std^2 sum gain dgain / elements.
// A workgroup takes a group (x) of an image (y); its lanes walk over the channels.
// needs reduce

struct Params { rows: u32, columns: u32, channels: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image_dgain: array<f32>; // [images, columns]
@group(0) @binding(2) var<storage, read> image_dbias: array<f32>;
@group(0) @binding(3) var<storage, read> gain: array<f32>; // [columns]
@group(0) @binding(4) var<storage, read> mean: array<f32>; // [images, columns]
@group(0) @binding(5) var<storage, read> inv_std: array<f32>;
@group(0) @binding(6) var<storage, read_write> slopes: array<f32>; // [images][mean, scale, shift, tilt][columns]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = group.x * params.channels;
    let of_image = group.y * params.columns + first;
    var shift = 0.0;
    var tilt = 0.0;
    for (var i = lane; i < params.channels; i += WORKGROUP) {
        shift += gain[first + i] * image_dbias[of_image + i];
        tilt += gain[first + i] * image_dgain[of_image + i];
    }
    let elements = f32(params.rows) * f32(params.channels);
    // One number is its own mean: y does not move when it does, not even by a rounding.
    let deviation = select(inv_std[of_image], 0.0, elements == 1.0);
    shift = deviation * workgroup_sum(shift, lane) / elements;
    tilt = deviation * deviation * workgroup_sum(tilt, lane) / elements;
    for (var i = lane; i < params.channels; i += WORKGROUP) {
        let at = group.y * 4u * params.columns + first + i;
        slopes[at] = mean[of_image + i];
        slopes[at + params.columns] = gain[first + i] * deviation;
        slopes[at + 2u * params.columns] = shift;
        slopes[at + 3u * params.columns] = tilt;
    }
}
