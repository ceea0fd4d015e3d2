// Where the pixels of a head lie in qkv [batch, PIXELS, q | k | v], each of the three HEADS pieces side by side. Strips are of four
// channels, with zeros behind a piece's last.
// needs elem_f32 | elem_f16
// needs pack_1 | pack_4
// needs index
// constants HEIGHT=3 WIDTH=5 HEADS=2 DEPTH=3 VALUES=2
const PIXELS: u32 = HEIGHT * WIDTH;
const KEY_CHANNELS: u32 = HEADS * DEPTH;
const VALUE_CHANNELS: u32 = HEADS * VALUES;
const CHANNELS: u32 = 2u * KEY_CHANNELS + VALUE_CHANNELS;
const DEPTH_STRIPS: u32 = (DEPTH + 3u) / 4u;
const VALUE_STRIPS: u32 = (VALUES + 3u) / 4u;
const STRIPS: u32 = DEPTH_STRIPS + VALUE_STRIPS;

// Weights are powers of 2, since that is what machines compute: logits are multiplied by this, before anything is summed.
const LOG2_E: f32 = 1.4426950408889634;
const LN_2: f32 = 0.6931471805599453;

// sum + a . b, one multiply-add a channel.
fn product(a: vec4<f32>, b: vec4<f32>, sum: f32) -> f32 {
    return sum + a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// The strip of channels from `at` on, of which `left` are there.
fn qkv_strip(at: u32, left: u32) -> vec4<f32> {
    var four: strip;
    for (var i = 0u; i < FACTORS; i++) { // unroll
        if i < left {
            four = with_factor(four, i, qkv[at / FACTOR + i]);
        }
    }
    return vec4<f32>(four);
}

fn query_strip(pixel: u32, head: u32, s: u32) -> vec4<f32> {
    return qkv_strip(pixel * CHANNELS + head * DEPTH + 4u * s, DEPTH - 4u * s);
}
fn key_strip(pixel: u32, head: u32, s: u32) -> vec4<f32> {
    return qkv_strip(pixel * CHANNELS + KEY_CHANNELS + head * DEPTH + 4u * s, DEPTH - 4u * s);
}
// Values of a head are few, seldom a multiple of four: each may have to be picked out of the four that it is loaded with.
fn value_strip(pixel: u32, head: u32, s: u32) -> vec4<f32> {
    let at = pixel * CHANNELS + 2u * KEY_CHANNELS + head * VALUES + 4u * s;
    if VALUES % 4u == 0u {
        return qkv_strip(at, 4u);
    }
    var four: vec4<f32>;
    for (var i = 0u; i < 4u; i++) { // unroll
        if 4u * s + i < VALUES {
            four[i] = f32(with_factor(strip(), 0u, qkv[(at + i) / FACTOR])[(at + i) % FACTOR]);
        }
    }
    return four;
}
