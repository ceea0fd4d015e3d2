// Where a workgroup of attention stands, and where its rows lie. The kernel's `params` name the sizes.
// q, y and dy are [batch, queries, heads, channels], k and v [batch, keys, heads, channels]; statistics [batch, heads, queries].
var<private> image: u32;
var<private> head: u32;
var<private> first_query: u32;
var<private> first_key: u32;

fn query_row(query: u32) -> u32 {
    return (image * params.queries + query) * params.heads + head;
}
fn key_row(key: u32) -> u32 {
    return (image * params.keys + key) * params.heads + head;
}
fn statistic(query: u32) -> u32 {
    return (image * params.heads + head) * params.queries + query;
}
