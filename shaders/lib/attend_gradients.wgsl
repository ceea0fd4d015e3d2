// P = exp(q k^T scale - log_sum), made again, and dS = scale P (dy v^T - rowsum(dy y)): what the gradients of q, k and v
// are sums of (rowsum(P dP) = rowsum(dy y), so that no pass over the keys is needed to find it). WHOLE = 1: all keys are in the tile,
// and rowsum(P dP) is in sight; `rows` is log_sum then.
// needs attend_softmax
// needs attend_place
// constants WHOLE=0
const SCORES: u32 = 0u; // q k^T
const GRADIENTS: u32 = 1u; // dy v^T

struct Tile { p: vec4<f32>, ds: vec4<f32> }

fn load_left(product: u32, row: u32, c: u32) -> f32 {
    let query = first_query + row;
    if product == SCORES {
        if query >= params.queries || c >= params.depth {
            return 0.0;
        }
        return f32(q[query_row(query) * params.depth + c]);
    }
    if query >= params.queries || c >= params.width {
        return 0.0;
    }
    return f32(dy[query_row(query) * params.width + c]);
}
fn load_right(product: u32, row: u32, c: u32) -> f32 {
    let key = first_key + row;
    if product == SCORES {
        if key >= params.keys || c >= params.depth {
            return 0.0;
        }
        return f32(k[key_row(key) * params.depth + c]);
    }
    if key >= params.keys || c >= params.width {
        return 0.0;
    }
    return f32(v[key_row(key) * params.width + c]);
}

// Every lane must call, in uniform control flow: the lane's query and its four keys, 0 where there is no key before
// `key_end`. Where there is no query the numbers mean nothing, and no sum takes them.
fn tile_gradients(lane: u32, key_end: u32) -> Tile {
    let scores = params.scale * tile_product(SCORES, params.depth, lane);
    let dp = tile_product(GRADIENTS, params.width, lane);
    let query = first_query + lane / QUADS;
    let key = first_key + 4u * (lane % QUADS);
    let row = min(query, params.queries - 1u);
    let log_sum = rows[select(2u * query_row(row), statistic(row), WHOLE == 1u)];
    let exists = vec4(key) + vec4(0u, 1u, 2u, 3u) < vec4(key_end);
    let p = select(vec4<f32>(), exp(scores - log_sum), exists);
    var c: f32;
    if WHOLE == 1u {
        // P made again sums to 1 but for what exp errs by, which is the same for all.
        let sum = sum_of_query(dot(p, dp), lane);
        c = sum / sum_of_query(dot(p, vec4(1.0)), lane);
    } else {
        c = rows[2u * query_row(row) + 1u];
    }
    return Tile(p, params.scale * p * (dp - c));
}
