// GELU, the exact one: f(x) = x Phi(x), with Phi the normal distribution, and its derivative Phi(x) + x phi(x).
const INV_SQRT_2: f32 = 0.70710678118;
const INV_SQRT_2_PI: f32 = 0.39894228040;

fn normal(x: floats) -> floats {
    let z = abs(x) * INV_SQRT_2;
    // erfc(z) = t exp(-z^2 + polynomial(t)), t = 1 / (1 + z/2): Numerical Recipes' Chebyshev fit, 1.2e-7 everywhere.
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    let tail = 0.5 * t * exp(-z * z + p);
    return select(tail, 1.0 - tail, x >= floats());
}
fn f(x: floats) -> floats {
    return x * normal(x);
}
fn df(x: floats) -> floats {
    return normal(x) + x * INV_SQRT_2_PI * exp(-0.5 * x * x);
}
