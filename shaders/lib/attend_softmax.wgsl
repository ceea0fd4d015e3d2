// Maxima and sums over a tile's keys, a query at a time: four numbers of a lane, then the lanes that share the query.
// needs attend_tile
var<workgroup> exchange: array<f32, WORKGROUP>; // [QUERIES, QUADS]

// Less than any score, and finite: WGSL has no infinity to write down.
const LOWEST: f32 = -3.0e38;

// LOWEST where a score belongs to no key: its weight becomes 0.
fn only_keys(scores: vec4<f32>, key: u32, end: u32) -> vec4<f32> {
    return select(vec4(LOWEST), scores, vec4(key) + vec4(0u, 1u, 2u, 3u) < vec4(end));
}

// Every lane must call, in uniform control flow; every lane of a query gets the query's largest.
fn largest_of_query(scores: vec4<f32>, lane: u32) -> f32 {
    exchange[lane] = max(max(scores.x, scores.y), max(scores.z, scores.w));
    workgroupBarrier();
    var largest = LOWEST;
    for (var quad = 0u; quad < QUADS; quad++) {
        largest = max(largest, exchange[lane / QUADS * QUADS + quad]);
    }
    workgroupBarrier(); // exchange is reused by the next call
    return largest;
}

// Every lane must call, in uniform control flow; every lane of a query gets the query's sum.
fn sum_of_query(value: f32, lane: u32) -> f32 {
    exchange[lane] = value;
    workgroupBarrier();
    var sum = 0.0;
    for (var quad = 0u; quad < QUADS; quad++) {
        sum += exchange[lane / QUADS * QUADS + quad];
    }
    workgroupBarrier(); // exchange is reused by the next call
    return sum;
}
