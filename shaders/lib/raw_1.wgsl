// How the raw input of an attention is read: an element at a time, where its channels are no multiple of 4.
alias raw_pack = elem;
const RAW_PACK: u32 = 1u;

fn with_raw(four: strip, at: u32, value: raw_pack) -> strip {
    var result = four;
    result[at] = value;
    return result;
}
