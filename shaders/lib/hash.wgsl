// 32 bits of three numbers, each bit as good as a coin: pcg3d, Jarzynski and Olano, JCGT 2020, of which the first word is taken. Whole
// numbers alone, so that it is the same everywhere.
// needs width_1 | width_4
fn hash(one: words, two: words, three: words) -> words {
    var x = one * 1664525u + 1013904223u;
    var y = two * 1664525u + 1013904223u;
    var z = three * 1664525u + 1013904223u;
    x += y * z;
    y += z * x;
    z += x * y;
    x ^= x >> words(16u);
    y ^= y >> words(16u);
    z ^= z >> words(16u);
    return x + y * z;
}
